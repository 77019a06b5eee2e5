"""Attributes of real images, combined for prompts: a few per prompt, all used equally often, without contradictions."""

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

_STOP_WORDS = {
    "a", "an", "and", "are", "at", "by", "for", "from", "has", "in", "is", "it", "its", "of", "on", "or", "that", "the",
    "there", "this", "to", "with",
}  # fmt: skip

_MIN_ROWS = 256  # of all tables together: a short list gets several, so that its kinds meet in more than one way


def clean_attributes(values: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct values in order, in lower case, trimmed; without single letters and stop words."""
    normalized = (" ".join(value.lower().split()).strip(string.punctuation + " ") for value in values)
    return tuple(dict.fromkeys(value for value in normalized if _is_attribute(value)))


def attribute_kinds(attribute: str) -> frozenset[str]:
    """Return the kinds that the words of an attribute have: colour, count, size, age, posture. Mostly none or one."""
    words = _WORD.findall(attribute.lower())
    has_count = any(word.isdecimal() and int(word) <= _LARGEST_COUNT for word in words)
    return frozenset(_KIND_OF[word] for word in words if word in _KIND_OF) | ({"count"} if has_count else set())


def read_attributes(path: Path, classes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the cleaned attributes of the classes from a JSON file `{class: [attribute, ...]}`. Raises SpecError."""
    place = f"prompts.clusters.path: {path}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError(f"prompts.clusters.path: no file {path}; `python -m jobs attributes` writes one") from None
    except (OSError, ValueError) as error:  # no JSON, or no UTF-8
        raise SpecError(f"{place} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{place} must hold {{class: [attribute, ...]}}, not {_excerpt(content)}")
    return {name: _attributes_of(name, content, place) for name in classes}


def _is_attribute(value: str) -> bool:
    words = _WORD.findall(value)
    return not set(words) <= _STOP_WORDS and any(len(word) > 1 or word.isdecimal() for word in words)


def _attributes_of(name: str, content: dict[str, object], place: str) -> tuple[str, ...]:
    if name not in content:
        similar = difflib.get_close_matches(name, content, n=1)
        advice = f"did you mean its {similar[0]!r}?" if similar else f"it has {', '.join(content) or 'none'}"
        raise SpecError(f"{place} has no class {name!r}; {advice}")
    values = content[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SpecError(f"{place}: class {name!r} must have a list of strings, not {_excerpt(values)}")
    attributes = clean_attributes(values)
    if not attributes:
        raise SpecError(f"{place}: class {name!r} has no attribute among its {len(values)} entries; add some")
    return attributes


def _excerpt(content: object) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class AttributeClusters:
    """The attributes of a class, combined into clusters of `per_prompt` for each prompt. key: decides how, >= 0.

    The attributes of a prompt are distinct and share no kind. A cluster is smaller only if no other attribute fits.
    Each cycle uses every attribute; the use counts of attributes with the same kinds differ by at most one.
    If every attribute has at most one kind, and no kind has more than 1 / per_prompt of the attributes, a cycle uses
    each attribute once, except for fewer than `per_prompt` that it uses twice.
    """

    def __init__(self, attributes: Sequence[str], per_prompt: int, key: int) -> None:
        # A pool holds the attributes that have the same kinds.
        pools: dict[frozenset[str], list[str]] = {}
        for attribute in attributes:
            pools.setdefault(attribute_kinds(attribute), []).append(attribute)
        self._kinds, self._pools = tuple(pools), tuple(pools.values())
        self._per_prompt, self._key = per_prompt, key

    @property
    def cycle_length(self) -> int:
        """Number of prompts in a cycle; the first cycle is prompts 0 to `cycle_length` - 1."""
        return len(self._tables[0])

    def draw(self, ordinal: int) -> tuple[str, ...]:
        """Return the attributes of prompt number `ordinal` >= 0, in constant time."""
        cycle, position = divmod(ordinal, self.cycle_length)
        table = self._tables[cycle % len(self._tables)]
        row = table[permute(position, self.cycle_length, self._subkey(cycle, 0))]
        # Members of a pool have the same kinds, so any permutation of them fits into the same rows.
        return tuple(
            self._pools[pool][permute(member, len(self._pools[pool]), self._subkey(cycle, 1 + pool))]
            for pool, member in row
        )

    def _subkey(self, cycle: int, purpose: int) -> int:
        return (self._key << 64 | cycle) << 16 | purpose

    @cached_property
    def _tables(self) -> list[list[list[tuple[int, int]]]]:
        """(pool, member) of each attribute in each row of each table; all tables have the same number of rows."""
        sizes = [len(pool) for pool in self._pools]
        kind_sizes = Counter[str]()
        for kinds, size in zip(self._kinds, sizes, strict=True):
            kind_sizes.update(dict.fromkeys(kinds, size))
        length = max(-(-sum(sizes) // self._per_prompt), *kind_sizes.values(), 1)
        tables = [
            _Table(self._kinds, sizes, self._per_prompt, Random(self._subkey(number, 0)))
            for number in range(max(1, _MIN_ROWS // length))
        ]
        for table in tables:
            table.place_kinds(length)
        longest = max(len(table.rows) for table in tables)
        return [table.fill_rows(longest) for table in tables]


class _Table:
    """Rows of pool numbers, with a place for every member of every pool. No two pools in a row share a kind."""

    def __init__(self, kinds: Sequence[frozenset[str]], sizes: Sequence[int], width: int, random: Random) -> None:
        self.rows: list[list[int]] = []
        self._kinds, self._sizes, self._width, self._random = kinds, sizes, width, random

    def place_kinds(self, length: int) -> None:
        """Spread every pool that has a kind over `length` rows, or over more if they do not fit."""
        self.rows = [[] for _ in range(length)]
        exclusive = [pool for pool, kinds in enumerate(self._kinds) if kinds]
        for pool in sorted(exclusive, key=lambda pool: (-len(self._kinds[pool]), -self._sizes[pool])):
            # Of the random module, only random() is guaranteed to give the same numbers in later versions.
            order = sorted(self.rows, key=lambda _: self._random.random())
            fitting = [row for row in order if len(row) < self._width and self._fits(pool, row)]
            for row in fitting[: self._sizes[pool]]:
                row.append(pool)
            for _ in range(self._sizes[pool] - len(fitting)):
                self._make_room(pool).append(pool)

    def fill_rows(self, length: int) -> list[list[tuple[int, int]]]:
        """Fill up `length` rows with the least-used pools, and return (pool, member) with the members in rotation."""
        self.rows += [[] for _ in range(length - len(self.rows))]
        uses = Counter(pool for row in self.rows for pool in row)
        for row in self.rows:
            while len(row) < self._width and (fitting := self._fitting_pools(row)):
                pool = min(fitting, key=lambda pool: uses[pool] / self._sizes[pool])
                row.append(pool)
                uses[pool] += 1
        members = [count() for _ in self._sizes]
        return [[(pool, next(members[pool]) % self._sizes[pool]) for pool in row] for row in self.rows]

    def _make_room(self, pool: int) -> list[int]:
        """Return a row with room for a pool that fits nowhere, after moving an entry of a full row; else a new row."""
        full = next((row for row in self.rows if self._fits(pool, row)), None)
        other = next((row for row in self.rows if len(row) < self._width), None)
        if full is not None and other is not None:
            for entry in full:
                if self._fits(entry, other):
                    full.remove(entry)
                    other.append(entry)
                    return full
        self.rows.append([])
        return self.rows[-1]

    def _fitting_pools(self, row: Sequence[int]) -> list[int]:
        # A row may hold several members of a pool that has no kind.
        return [pool for pool, size in enumerate(self._sizes) if row.count(pool) < size and self._fits(pool, row)]

    def _fits(self, pool: int, row: Sequence[int]) -> bool:
        return all(self._kinds[pool].isdisjoint(self._kinds[other]) for other in row)
