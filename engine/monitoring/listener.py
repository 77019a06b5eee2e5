"""The interface by which the driver of a generation reports its events."""

from shards.stats import Stats


class Listener:
    """A receiver of the driver's events. The methods of this class do nothing.

    The driver calls them on its own thread, so they must return at once and must not raise.
    """

    def unit_done(self, stats: Stats) -> None:
        """Receive the stats of a unit that was finished."""

    def unit_failed(self, reason: str, slots: int) -> None:
        """Receive that a unit was quarantined.

        reason: `Kind: text` of its last error.
        slots:  how many slots of the plan stay empty because of it.
        """

    def tick(self, *, actors: int, loading: int, waiting: int) -> None:
        """Receive the state of the pool, a few times a second.

        actors:  actors that have loaded the model.
        loading: actors that have not.
        waiting: units that are assigned to no actor.
        """
