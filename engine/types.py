"""Small types that several rooms share: slots, work units and prompts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """One position in a unit. It ends as one sample or as one recorded failure.

    index:   position in the run.
    unit:    number of the unit that holds it.
    label:   class index.
    ordinal: position among the slots of its class, 0 to quota - 1; prompts follow this order.
    """

    index: int
    unit: int
    label: int
    ordinal: int
    key: str


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """The slots of one shard: those with index in range(start, stop)."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text that a generator follows.

    attributes: name and value of each attribute that occurs in the text, sorted by name.
    strategy:   name of the prompt strategy that made it.
    source:     SHA-256 of the real image that the text describes, or "".
    """

    text: str
    negative: str
    attributes: tuple[tuple[str, str], ...]
    strategy: str
    source: str = ""
