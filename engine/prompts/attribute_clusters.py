"""Attributes that people gave to real images of a class, drawn a few at a time, each as often as any other.

No two attributes of a prompt contradict each other: those that exclude one another form a kind, such as the colours.
"""

import difflib
import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from random import Random

from engine.errors import SpecError
from engine.seeds import permute

_KINDS = {
    "colour": """
        amber aqua auburn beige black blackish blond blonde blue bluish bronze brown brownish burgundy camouflage
        camouflaged charcoal chestnut colored colorful colors coloured colourful colours colour color cream crimson
        cyan dark gold golden gray grayish green greenish grey greyish indigo ivory khaki lavender lilac magenta maroon
        multicolor multicolored multicolour multicoloured navy olive orange pale peach pink pinkish purple purplish red
        reddish rust scarlet silver tan tawny teal turquoise violet white whitish yellow yellowish
        """,
    "count": """
        one two three four five six seven eight nine ten eleven twelve single double pair couple several many few some
        multiple numerous various lone
        """,
    "size": """
        small smaller smallest little tiny mini miniature big bigger biggest large larger largest huge giant gigantic
        enormous massive medium short shorter tall taller
        """,
    "age": """
        new newer old older oldest elderly young younger youngest baby newborn juvenile adult mature vintage antique
        ancient modern
        """,
    "posture": """
        airborne anchored asleep climbing crouching diving docked driving floating flight flying galloping gliding
        grounded hanging hopping hovering idle jumping kneeling landed landing laying leaning leaping lying moored
        motionless moving parked perched perching racing resting running sailing seated sitting sleeping soaring
        standing stationary stopped swimming traveling travelling trotting walking
        """,
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_WORD = re.compile(r"[^\W\d_]+|\d+")
_LARGEST_COUNT = 99  # larger numbers are names, like a 747

_FILLERS = "a an and are at by for from has in is it its of on or that the there this to with"

_FEWEST_ROWS = 256
"""Of a short list several tables are made, so that its kinds meet in more than one way."""


def clean_attributes(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once, in the order of first places: lower case, single spaces, no punctuation around it.

    Dropped is what is no attribute: single letters, words like `the`, and values without any letter or digit.
    """
    tidy = (" ".join(value.lower().split()).strip(string.punctuation + " ") for value in values)
    return tuple(dict.fromkeys(value for value in tidy if _is_attribute(value)))


def attribute_kinds(attribute: str) -> frozenset[str]:
    """Which kinds an attribute has, by its words: colour, count, size, age, posture. Mostly none or one."""
    words = _WORD.findall(attribute.lower())
    counted = any(word.isdecimal() and int(word) <= _LARGEST_COUNT for word in words)
    return frozenset(_KIND_OF[word] for word in words if word in _KIND_OF) | ({"count"} if counted else set())


def read_attributes(path: Path, classes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The cleaned attributes of these classes, from a JSON file `{class: [attribute, ...]}`. Raises SpecError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"prompts.clusters.path: no file {path}; `python -m jobs attributes` writes one") from None
    except (OSError, ValueError) as error:  # no JSON, or no UTF-8
        raise SpecError(f"prompts.clusters.path: {path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise SpecError(f"prompts.clusters.path: {path} must hold {{class: [attribute, ...]}}, not {_form(content)}")
    return {name: _attributes_of(name, content, path) for name in classes}


def _is_attribute(value: str) -> bool:
    words = _WORD.findall(value)
    return not set(words) <= set(_FILLERS.split()) and any(len(word) > 1 or word.isdecimal() for word in words)


def _attributes_of(name: str, content: dict[str, object], path: Path) -> tuple[str, ...]:
    place = f"prompts.clusters.path: {path}"
    if name not in content:
        near = difflib.get_close_matches(name, content, n=1)
        advice = f"did you mean its {near[0]!r}?" if near else f"it has {', '.join(content) or 'none'}"
        raise SpecError(f"{place} has no class {name!r}; {advice}")
    found = content[name]
    if not isinstance(found, list) or not all(isinstance(value, str) for value in found):
        raise SpecError(f"{place}: class {name!r} must have a list of texts, not {_form(found)}")
    cleaned = clean_attributes(found)
    if not cleaned:
        raise SpecError(f"{place}: class {name!r} has no attribute among its {len(found)} entries; add some")
    return cleaned


def _form(found: object) -> str:
    text = json.dumps(found, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class AttributeClusters:
    """A class's attributes, `per_prompt` of them for each prompt.

    In a prompt, attributes are distinct and no two share a kind; there are fewer only where none of the others could
    stand beside them. In each cycle every attribute is used; attributes of the same kinds equally often, but for one.
    Where no kind holds more than one in `per_prompt` of the attributes, and none has two kinds, each is used once, but
    for fewer than `per_prompt` that are used again. A kind that holds more leaves room, which the other attributes
    fill by being used more often.

    attributes: cleaned, without doubles.
    key:        decides the pairings, >= 0.
    """

    def __init__(self, attributes: Sequence[str], per_prompt: int, key: int) -> None:
        pools: dict[frozenset[str], list[str]] = {}
        for attribute in attributes:
            pools.setdefault(attribute_kinds(attribute), []).append(attribute)
        self._kinds, self._pools = tuple(pools), tuple(pools.values())
        self._per_prompt, self._key = per_prompt, key

    @property
    def cycle(self) -> int:
        """Length of a cycle: prompts 0 to `cycle` - 1 are one, and so on."""
        return len(self._tables[0])

    def draw(self, ordinal: int) -> tuple[str, ...]:
        """The attributes of prompt number `ordinal` >= 0, in any order of asking, at once."""
        cycle, place = divmod(ordinal, self.cycle)
        table = self._tables[cycle % len(self._tables)]
        row = table[permute(place, self.cycle, self._subkey(cycle, 0))]
        # Members of a pool have the same kinds: exchanged for each other they fit as well as before.
        return tuple(
            self._pools[pool][permute(member, len(self._pools[pool]), self._subkey(cycle, 1 + pool))]
            for pool, member in row
        )

    def _subkey(self, cycle: int, which: int) -> int:
        return (self._key << 64 | cycle) << 16 | which

    @cached_property
    def _tables(self) -> list[list[list[tuple[int, int]]]]:
        """For each row of each table, (pool, member) of its attributes; all tables have the same number of rows."""
        sizes = [len(pool) for pool in self._pools]
        crowds = Counter[str]()
        for kinds, size in zip(self._kinds, sizes, strict=True):
            crowds.update(dict.fromkeys(kinds, size))
        length = max(-(-sum(sizes) // self._per_prompt), *crowds.values(), 1)
        tables = [
            _Table(self._kinds, sizes, self._per_prompt, Random(self._subkey(number, 0)))
            for number in range(max(1, _FEWEST_ROWS // length))
        ]
        for table in tables:
            table.place(length)
        longest = max(len(table.rows) for table in tables)
        return [table.filled(longest) for table in tables]


class _Table:
    """Rows of pool numbers, a place for every member of every pool, where no two in a row share a kind."""

    def __init__(self, kinds: Sequence[frozenset[str]], sizes: Sequence[int], width: int, random: Random) -> None:
        self.rows: list[list[int]] = []
        self._kinds, self._sizes, self._width, self._random = kinds, sizes, width, random

    def place(self, length: int) -> None:
        """Spread every pool that has a kind over `length` rows, or more if they do not fit."""
        self.rows = [[] for _ in range(length)]
        exclusive = [pool for pool, kinds in enumerate(self._kinds) if kinds]
        for pool in sorted(exclusive, key=lambda pool: (-len(self._kinds[pool]), -self._sizes[pool])):
            # Of the random module, only random() is promised to stay as it is.
            order = sorted(self.rows, key=lambda _: self._random.random())
            fitting = [row for row in order if len(row) < self._width and self._agrees(pool, row)]
            for row in fitting[: self._sizes[pool]]:
                row.append(pool)
            for _ in range(self._sizes[pool] - len(fitting)):
                self._row_for(pool).append(pool)

    def filled(self, length: int) -> list[list[tuple[int, int]]]:
        """All rows, filled up with the pools that were used least, and their members in turn."""
        self.rows += [[] for _ in range(length - len(self.rows))]
        used = Counter(pool for row in self.rows for pool in row)
        for row in self.rows:
            while len(row) < self._width and (fitting := self._fitting(row)):
                pool = min(fitting, key=lambda pool: used[pool] / self._sizes[pool])
                row.append(pool)
                used[pool] += 1
        turns = [count() for _ in self._sizes]
        return [[(pool, next(turns[pool]) % self._sizes[pool]) for pool in row] for row in self.rows]

    def _row_for(self, pool: int) -> list[int]:
        """A row with room for the pool, which fits nowhere: made by moving one of a full row's to one that has room.

        If every pool has one kind at most, some one can be moved: what the other row holds besides this very kind is
        too little to exclude all of a full row. Otherwise a new row may be needed.
        """
        full = next((row for row in self.rows if self._agrees(pool, row)), None)
        roomy = next((row for row in self.rows if len(row) < self._width), None)
        if full is not None and roomy is not None:
            for moved in full:
                if self._agrees(moved, roomy):
                    full.remove(moved)
                    roomy.append(moved)
                    return full
        self.rows.append([])
        return self.rows[-1]

    def _fitting(self, row: Sequence[int]) -> list[int]:
        # A pool without a kind may stand in a row with several of its members.
        return [p for p, size in enumerate(self._sizes) if row.count(p) < size and self._agrees(p, row)]

    def _agrees(self, pool: int, row: Sequence[int]) -> bool:
        return all(self._kinds[pool].isdisjoint(self._kinds[other]) for other in row)
