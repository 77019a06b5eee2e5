"""Lists of attributes for prompts, counted in Visual Genome: how people described the objects of each class.

Visual Genome's attributes.json is a list of images, each {"image_id", "attributes": [object, ...]}; an object has
"names", "synsets" (of WordNet 3.0) and, if anybody described it, "attributes": Krishna et al., "Visual Genome", 2017.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from engine.errors import DataError, OutputError, SpecError
from engine.prompts.attribute_clusters import clean_attributes
from engine.prompts.wordnet import WordNet
from shards.storage.commit import replace_text, sweep_staging


def choose_synsets(classes: Mapping[str, Sequence[str]], wordnet: WordNet) -> dict[str, set[str]]:
    """The synsets of each class: those given with it, or else the only meaning of its name.

    Raises SpecError where a synset is unknown, or a name without one has no meaning or several.
    """
    found = {
        name: [wordnet.meaning(synset) for synset in given] or wordnet.meanings(name) for name, given in classes.items()
    }
    unknown = [name for name, meanings in found.items() if not meanings]
    if unknown:
        raise SpecError(
            f"--classes: WordNet has no noun {unknown[0]!r}; give a synset that it has, {unknown[0]}=SYNSET"
        )
    unclear = [name for name, meanings in found.items() if len(meanings) > 1 and not classes[name]]
    if unclear:
        choices = (f"\n  {name}={one.synset}  {one.gloss}" for name in unclear for one in found[name])
        raise SpecError(f"--classes: say which is meant, as NAME=SYNSET{''.join(choices)}")
    return {name: {meaning.synset for meaning in meanings} for name, meanings in found.items()}


def add_hyponyms(synsets: Mapping[str, Set[str]], wordnet: WordNet) -> dict[str, set[str]]:
    """The synsets of each class, and all that are kinds of them."""
    return {name: set(own).union(*(wordnet.hyponyms(synset) for synset in own)) for name, own in synsets.items()}


def count_attributes(path: Path, synsets: Mapping[str, Set[str]]) -> dict[str, Counter[str]]:
    """How many objects of each class have an attribute, cleaned, in Visual Genome's attributes.json.

    An object is of every class that it shares a synset with. The file is read in constant memory. Raises DataError.
    """
    classes_of: dict[str, list[str]] = {}
    for name, own in synsets.items():
        for synset in own:
            classes_of.setdefault(synset, []).append(name)
    counts: dict[str, Counter[str]] = {name: Counter() for name in synsets}
    described = 0
    for found, attributes in _objects(path):
        described += 1
        names = {name for synset in found for name in classes_of.get(synset, ())}
        for name in names:
            counts[name].update(clean_attributes(attributes))
    if not described:
        raise DataError(f"--visual-genome {path}: no object with synsets and attributes; give its attributes.json")
    return counts


def rank_attributes(counts: Mapping[str, Counter[str]], min_count: int) -> dict[str, list[str]]:
    """The attributes of each class that at least `min_count` objects have, by falling count, then by name.

    Raises DataError where a class has none.
    """
    for name, found in counts.items():
        if max(found.values(), default=0) < min_count:
            raise DataError(
                f"class {name!r}: no attribute was given to {min_count} or more objects, the commonest to "
                f"{max(found.values(), default=0)}; lower --min-count, or choose a wider synset"
            )
    return {
        name: sorted((one for one in found if found[one] >= min_count), key=lambda one: (-found[one], one))
        for name, found in counts.items()
    }


def write_attributes(path: Path, lists: Mapping[str, Sequence[str]]) -> None:
    """Write what `read_attributes` reads; equal lists give equal bytes. Raises OutputError."""
    try:
        replace_text(path, json.dumps(lists, indent=1, ensure_ascii=False) + "\n")
        sweep_staging(path.parent)
    except OSError as error:
        raise OutputError(f"--out {path}: cannot be written: {error.strerror}; choose another file") from None


def _objects(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Synsets and attributes of every object that has both."""
    import ijson

    try:
        with path.open("rb") as file:
            for found in ijson.items(file, "item.attributes.item"):
                match found:
                    case {"synsets": [str(), *_] as synsets, "attributes": [str(), *_] as attributes}:
                        yield synsets, attributes
    except OSError as error:
        raise DataError(f"--visual-genome {path}: cannot be read: {error.strerror}") from None
    except ijson.JSONError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"--visual-genome {path}: not JSON ({reason}); give attributes.json, unzipped") from None
