"""The job `attributes`: count in Visual Genome which attributes people gave to the objects of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.config.spec import Spec
from engine.data.open_source import open_source
from engine.errors import SpecError
from engine.prompts.visual_genome import add_hyponyms, choose_synsets, count_attributes, rank_attributes
from engine.prompts.wordnet import WordNet


def make_attribute_lists(
    synsets: Mapping[str, Sequence[str]], visual_genome: Path, wordnet: WordNet, *, exact: bool, min_count: int
) -> dict[str, list[str]]:
    """Return the attributes of each class, the most frequent first.

    synsets:   WordNet's synsets of each class; an empty list stands for the only meaning of the name.
    exact:     count objects of the synsets alone, not of their hyponyms.
    min_count: leave out attributes of fewer objects.
    """
    chosen = choose_synsets(synsets, wordnet)
    if not exact:
        chosen = add_hyponyms(chosen, wordnet)
    return rank_attributes(count_attributes(visual_genome, chosen), min_count)


def classes_of(spec: Spec) -> Sequence[str]:
    """Return the class names of a spec, from its data if it has some."""
    return open_source(spec.data).classes if spec.data is not None else spec.classes or ()


def match_classes(synsets: Mapping[str, Sequence[str]], classes: Sequence[str], place: str) -> dict[str, Sequence[str]]:
    """Return the synsets of all `classes`. Raises SpecError where `synsets` has another class."""
    if unknown := synsets.keys() - set(classes):
        raise SpecError(f"--classes: {place} has no class {min(unknown)!r}; it has {', '.join(classes)}")
    return {name: synsets.get(name, []) for name in classes}
