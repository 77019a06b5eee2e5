"""Attribute lists for prompts, counted in Visual Genome's attributes.json (Krishna et al., "Visual Genome", 2017)."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from engine.errors import DataError, OutputError, SpecError
from engine.prompts.attribute_clusters import clean_attributes
from engine.prompts.wordnet import WordNet
from shards.storage.commit import replace_bytes, sweep_staging


def choose_synsets(classes: Mapping[str, Sequence[str]], wordnet: WordNet) -> dict[str, set[str]]:
    """Return the synsets listed for each class, or the only meaning of its name. Raises SpecError if unclear."""
    meanings = {
        name: [wordnet.meaning(synset) for synset in synsets] or wordnet.meanings(name)
        for name, synsets in classes.items()
    }
    unknown = [name for name in classes if not meanings[name]]
    if unknown:
        raise SpecError(f"--classes: WordNet has no noun {unknown[0]!r}; use one of its synsets, {unknown[0]}=SYNSET")
    ambiguous = [name for name in classes if len(meanings[name]) > 1 and not classes[name]]
    if ambiguous:
        choices = (f"\n  {name}={meaning.synset}  {meaning.gloss}" for name in ambiguous for meaning in meanings[name])
        raise SpecError(f"--classes: choose a meaning, as NAME=SYNSET{''.join(choices)}")
    return {name: {meaning.synset for meaning in meanings[name]} for name in classes}


def add_hyponyms(synsets: Mapping[str, Set[str]], wordnet: WordNet) -> dict[str, set[str]]:
    """Return the synsets of each class and all of their hyponyms."""
    return {name: set(own).union(*(wordnet.hyponyms(synset) for synset in own)) for name, own in synsets.items()}


def count_attributes(path: Path, synsets: Mapping[str, Set[str]]) -> dict[str, Counter[str]]:
    """Count the attributes of each class's objects, which share a synset with it. Raises DataError."""
    classes_of: dict[str, list[str]] = {}
    for name, own in synsets.items():
        for synset in own:
            classes_of.setdefault(synset, []).append(name)
    counts: dict[str, Counter[str]] = {name: Counter() for name in synsets}
    object_count = 0
    for object_synsets, attributes in _read_objects(path):
        object_count += 1
        for name in {name for synset in object_synsets for name in classes_of.get(synset, ())}:
            counts[name].update(clean_attributes(attributes))
    if not object_count:
        raise DataError(f"--visual-genome {path}: no object with synsets and attributes; use its attributes.json")
    return counts


def rank_attributes(counts: Mapping[str, Counter[str]], min_count: int) -> dict[str, list[str]]:
    """Return the attributes that at least `min_count` objects of a class have, by count. Raises DataError if none."""
    for name, objects in counts.items():
        highest = max(objects.values(), default=0)
        if highest < min_count:
            raise DataError(
                f"class {name!r}: no attribute has {min_count} or more objects, the most frequent has {highest}; "
                "lower --min-count, or choose a wider synset"
            )
    return {
        name: sorted((word for word in objects if objects[word] >= min_count), key=lambda word: (-objects[word], word))
        for name, objects in counts.items()
    }


def write_attributes(path: Path, lists: Mapping[str, Sequence[str]]) -> None:
    """Write a file that `read_attributes` reads; equal lists give equal bytes. Raises OutputError."""
    try:
        replace_bytes(path, (json.dumps(lists, indent=1, ensure_ascii=False) + "\n").encode())
        sweep_staging(path.parent)
    except OSError as error:
        raise OutputError(f"--out {path}: cannot be written: {error.strerror}; choose another file") from None


def _read_objects(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the synsets and attributes of every object that has both."""
    import ijson

    # The file: [{"image_id", "attributes": [{"names", "synsets" of WordNet 3.0, maybe "attributes"}, ...]}, ...]
    try:
        with path.open("rb") as file:
            for content in ijson.items(file, "item.attributes.item"):
                match content:
                    case {"synsets": [str(), *_] as synsets, "attributes": [str(), *_] as attributes}:
                        yield synsets, attributes
    except OSError as error:
        raise DataError(f"--visual-genome {path}: cannot be read: {error.strerror}") from None
    except ijson.JSONError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"--visual-genome {path}: not JSON ({reason}); use attributes.json, unzipped") from None
