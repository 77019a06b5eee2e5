"""The nouns of WordNet 3.0: what a name may mean, and what is a kind of what.

Reads the data base's own files, as Debian's wordnet-base installs them; their form is described in wndb(5WN).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.errors import DataError, SpecError

_USUAL = Path("/usr/share/wordnet")
_VERSION = b"WordNet 3.0 Copyright"
_FILES = ("index.noun", "data.noun", "noun.exc", "cntlist.rev")
_SYNSET = re.compile(r"(.+)\.n\.(\d+)")

_VISIBLE = {"05", "06", "08", "13", "15", "17", "18", "20", "27"}
"""Lexicographer files: animal, artifact, body, food, location, object, person, plant, substance; lexnames(5WN)."""
_OFTEN, _FAR_LESS = 16, 4

# From morphy(7WN): what plurals end on, and what takes its place.
_ENDINGS = (
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("ves", "f"),
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """One meaning of a noun.

    synset: its name, like `crane.n.04`: the first lemma and the meaning's number among those of that lemma.
    gloss:  its definition.
    lemmas: all words for it, spaces in them as spaces.
    """

    synset: str
    gloss: str
    lemmas: tuple[str, ...]


class WordNet:
    """The nouns in a folder of WordNet's files.

    folder: or else the one that $WNSEARCHDIR names, or else where Debian has them. Raises DataError.
    """

    def __init__(self, folder: Path | None = None) -> None:
        index, self._data, exceptions, self._tagged = _files(folder or Path(os.environ.get("WNSEARCHDIR") or _USUAL))
        # The first lines of the index, which start with a space, are the licence.
        self._index = {line.partition(" ")[0]: line for line in index.decode().splitlines() if not line.startswith(" ")}
        self._bases = {plural: bases for plural, *bases in map(str.split, exceptions.decode().splitlines())}

    def meanings(self, name: str) -> list[Meaning]:
        """What a noun may mean, the most frequent meaning first; a plural means what its singular does.

        Words of `name` are separated by spaces or underscores; case does not matter. Unknown names have no meaning.
        """
        return [self._meaning(offset) for offset in self._offsets(self._known(name))]

    def likely(self, name: str) -> list[Meaning]:
        """The meanings that a picture of `name` may well show, the most frequent first. One or none: it is clear.

        These are kinds of things that one can see, whose first name it is; one that texts use often leaves out others
        that they use far less.
        """
        lemma, kept = self._known(name), list[tuple[int, int]]()
        for offset in self._offsets(lemma):
            fields, _ = self._record(offset)
            if fields[1] in _VISIBLE and "@i" not in fields and fields[4].lower() == lemma:
                kept.append((self._counts.get((lemma, fields[1], int(fields[5], 16)), 0), offset))
        most = max((count for count, _ in kept), default=0)
        return [self._meaning(offset) for count, offset in kept if most < _OFTEN or count * _FAR_LESS >= most]

    def meaning(self, synset: str) -> Meaning:
        """The meaning of that name, or of another lemma and number for it. Raises SpecError if there is none."""
        return self._meaning(self._offset(synset))

    def hyponyms(self, synset: str) -> set[str]:
        """Names of all synsets below it: kinds, kinds of kinds, and single instances; without itself."""
        found, todo = set[int](), [self._offset(synset)]
        while todo:
            below = set(self._below(todo.pop())) - found
            found |= below
            todo += below
        return {self._meaning(offset).synset for offset in found}

    def _known(self, name: str) -> str:
        lemma = "_".join(name.lower().replace("_", " ").split())
        return next((form for form in (lemma, *self._singulars(lemma)) if form in self._index), lemma)

    @cached_property
    def _counts(self) -> dict[tuple[str, str, int], int]:
        """How often a lemma was tagged with the meaning of a lexicographer file and number there. A line:
        lemma%1:FILE:NUMBER:: RANK COUNT, where 1 stands for nouns; cntlist(5WN)."""
        found = re.findall(r"^(\S+)%1:(\d\d):(\d\d):\S* \d+ (\d+)$", self._tagged.decode(), re.MULTILINE)
        return {(lemma, file, int(number)): int(count) for lemma, file, number, count in found}

    def _singulars(self, lemma: str) -> Iterator[str]:
        yield from self._bases.get(lemma, ())
        yield from (lemma.removesuffix(old) + new for old, new in _ENDINGS if lemma.endswith(old))

    def _offset(self, synset: str) -> int:
        form = _SYNSET.fullmatch(synset.lower())
        lemma = form[1] if form else synset
        offsets = self._offsets(lemma)
        if form and 1 <= int(form[2]) <= len(offsets):
            return offsets[int(form[2]) - 1]
        known = ", ".join(meaning.synset for meaning in self.meanings(lemma))
        advice = f"{lemma!r} has {known}" if known else "write one like airplane.n.01"
        raise SpecError(f"WordNet has no noun synset {synset!r}; {advice}")

    def _offsets(self, lemma: str) -> list[int]:
        """Where the meanings of a lemma are. Its line: lemma n COUNT, then other fields, then COUNT offsets."""
        fields = self._index.get(lemma, "- n 0").split()
        return [int(offset) for offset in fields[len(fields) - int(fields[2]) :]]

    def _meaning(self, offset: int) -> Meaning:
        fields, gloss = self._record(offset)
        words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        first = words[0].lower()
        number = self._offsets(first).index(offset) + 1
        lemmas = tuple(word.replace("_", " ") for word in words)
        return Meaning(f"{first}.n.{number:02d}", gloss.partition('; "')[0].strip("; "), lemmas)

    def _below(self, offset: int) -> list[int]:
        fields, _ = self._record(offset)
        pointers = fields[5 + 2 * int(fields[3], 16) :]
        return [int(to) for symbol, to in zip(pointers[::4], pointers[1::4], strict=True) if symbol in ("~", "~i")]

    def _record(self, offset: int) -> tuple[list[str], str]:
        """Fields and gloss: offset file n COUNT [word id]... COUNT [symbol offset pos relation]... | gloss."""
        line = self._data[offset : self._data.index(b"\n", offset)].decode()
        fields, _, gloss = line.partition("|")
        return fields.split(), gloss


def _files(folder: Path) -> list[bytes]:
    try:
        found = [(folder / name).read_bytes() for name in _FILES]
    except OSError as error:
        raise DataError(
            f"WordNet: {error.filename} cannot be read: {error.strerror}; `apt-get install wordnet-base` installs "
            f"{', '.join(_FILES)} in {_USUAL}, and --wordnet or $WNSEARCHDIR names another folder"
        ) from None
    if _VERSION not in found[0]:
        raise DataError(f"WordNet: {folder} holds another version than 3.0, whose names of synsets are in use")
    return found
