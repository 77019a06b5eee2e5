"""Small types that several rooms share: slots, work units and prompts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """One position in a unit. It ends as one sample or as one recorded failure."""

    index: int  # position in the run
    unit: int  # number of the unit that holds it
    label: int
    ordinal: int  # position among the slots of its class, 0 to quota - 1; prompts follow this order
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
    """The text that a generator follows."""

    text: str
    negative: str
    attributes: tuple[tuple[str, str], ...]  # name and value of each that occurs in the text, sorted by name
    strategy: str
    source: str = ""  # SHA-256 of the real image that the text describes
