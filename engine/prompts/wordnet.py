"""The nouns of WordNet 3.0, read from its own database files, whose format is described in wndb(5WN)."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.errors import DataError, SpecError

_DEFAULT_FOLDER = Path("/usr/share/wordnet")
_VERSION = b"WordNet 3.0 Copyright"
_FILES = ("index.noun", "data.noun", "noun.exc", "cntlist.rev")
_SYNSET = re.compile(r"(.+)\.n\.(\d+)")

_VISIBLE_FILES = {"05", "06", "08", "13", "15", "17", "18", "20", "27"}
"""Lexicographer files: animal, artifact, body, food, location, object, person, plant, substance; lexnames(5WN)."""
_FREQUENT, _RARER = 16, 4
"""A meaning that texts use at least 16 times hides meanings that they use less than a quarter as often."""

_PLURAL_ENDINGS = (
    ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ("ves", "f"),
)  # fmt: skip
"""Endings of plurals and of their singulars, from morphy(7WN)."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A meaning of a noun. synset: like `crane.n.04`, its first lemma and its number among that lemma's meanings."""

    synset: str
    gloss: str


class WordNet:
    """The nouns in a folder of WordNet's files, by default $WNSEARCHDIR or else Debian's. Raises DataError."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path(os.environ.get("WNSEARCHDIR") or _DEFAULT_FOLDER)
        index, self._data, exceptions, self._tag_counts_file = _read_files(folder)
        # The first lines of the index, which start with a space, are the licence.
        self._index = {line.partition(" ")[0]: line for line in index.decode().splitlines() if not line.startswith(" ")}
        self._irregular = {plural: bases for plural, *bases in map(str.split, exceptions.decode().splitlines())}

    def meanings(self, name: str) -> list[Meaning]:
        """Return the meanings of a noun, in singular or plural, in any case; the most frequent first."""
        return [self._meaning(offset) for offset in self._offsets(self._lemma(name))]

    def likely_meanings(self, name: str) -> list[Meaning]:
        """Return the meanings that a picture of `name` may show, the most frequent first; one if it is clear."""
        lemma, candidates = self._lemma(name), list[tuple[int, int]]()
        for offset in self._offsets(lemma):
            fields, _ = self._record(offset)
            if fields[1] in _VISIBLE_FILES and "@i" not in fields and fields[4].lower() == lemma:
                candidates.append((self._tag_counts.get((lemma, fields[1], int(fields[5], 16)), 0), offset))
        highest = max((count for count, _ in candidates), default=0)
        return [
            self._meaning(offset) for count, offset in candidates if highest < _FREQUENT or count * _RARER >= highest
        ]

    def meaning(self, synset: str) -> Meaning:
        """Return the meaning with this name, or with another lemma's name for it. Raises SpecError if there is none."""
        return self._meaning(self._offset(synset))

    def hyponyms(self, synset: str) -> set[str]:
        """Return the names of all synsets below one: direct and indirect kinds, and instances; without itself."""
        offsets, queue = set[int](), [self._offset(synset)]
        while queue:
            fields, _ = self._record(queue.pop())
            pointers = fields[5 + 2 * int(fields[3], 16) :]
            kinds = {int(to) for symbol, to in zip(pointers[::4], pointers[1::4], strict=True) if symbol in ("~", "~i")}
            new = kinds - offsets
            offsets |= new
            queue += new
        return {self._meaning(offset).synset for offset in offsets}

    def _lemma(self, name: str) -> str:
        """Return the name, or its singular, as the index writes it."""
        lemma = "_".join(name.lower().replace("_", " ").split())
        return next((form for form in (lemma, *self._singulars(lemma)) if form in self._index), lemma)

    @cached_property
    def _tag_counts(self) -> dict[tuple[str, str, int], int]:
        """Count how often texts use each lemma with the meaning of a lexicographer file and number; cntlist(5WN)."""
        # A line is lemma%1:FILE:NUMBER:: RANK COUNT, where 1 stands for nouns.
        pattern = r"^(\S+)%1:(\d\d):(\d\d):\S* \d+ (\d+)$"
        lines = re.findall(pattern, self._tag_counts_file.decode(), re.MULTILINE)
        return {(lemma, file, int(number)): int(count) for lemma, file, number, count in lines}

    def _singulars(self, lemma: str) -> Iterator[str]:
        yield from self._irregular.get(lemma, ())
        for plural, singular in _PLURAL_ENDINGS:
            if lemma.endswith(plural):
                yield lemma.removesuffix(plural) + singular

    def _offset(self, synset: str) -> int:
        match = _SYNSET.fullmatch(synset.lower())
        lemma = match[1] if match else synset
        offsets = self._offsets(lemma)
        if match and 1 <= int(match[2]) <= len(offsets):
            return offsets[int(match[2]) - 1]
        known = ", ".join(meaning.synset for meaning in self.meanings(lemma))
        advice = f"{lemma!r} has {known}" if known else "write one like airplane.n.01"
        raise SpecError(f"WordNet has no noun synset {synset!r}; {advice}")

    def _offsets(self, lemma: str) -> list[int]:
        """Return the offsets of a lemma's meanings in the data file."""
        # A line of the index is lemma n COUNT, then other fields, then COUNT offsets.
        fields = self._index.get(lemma, "- n 0").split()
        return [int(offset) for offset in fields[len(fields) - int(fields[2]) :]]

    def _meaning(self, offset: int) -> Meaning:
        fields, gloss = self._record(offset)
        first = fields[4].lower()
        number = self._offsets(first).index(offset) + 1
        return Meaning(f"{first}.n.{number:02d}", gloss.partition('; "')[0].strip("; "))

    def _record(self, offset: int) -> tuple[list[str], str]:
        """Return the fields and the gloss of the synset at an offset of the data file."""
        # offset file n COUNT [word id]... COUNT [symbol offset pos relation]... | gloss
        line = self._data[offset : self._data.index(b"\n", offset)].decode()
        fields, _, gloss = line.partition("|")
        return fields.split(), gloss


def _read_files(folder: Path) -> list[bytes]:
    try:
        contents = [(folder / name).read_bytes() for name in _FILES]
    except OSError as error:
        raise DataError(
            f"WordNet: {error.filename} cannot be read: {error.strerror}; `apt-get install wordnet-base` installs "
            f"{', '.join(_FILES)} in {_DEFAULT_FOLDER}; --wordnet or $WNSEARCHDIR names another folder"
        ) from None
    if _VERSION not in contents[0]:
        raise DataError(f"WordNet: {folder} does not hold version 3.0, whose synset names are used here")
    return contents
