"""The command `attributes`."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.errors import SpecError
from engine.prompts.visual_genome import write_attributes
from engine.prompts.wordnet import WordNet
from jobs.arguments import AddCommand


def register(command: AddCommand) -> None:
    """Add the command."""
    added = command(
        "attributes",
        attributes,
        "Count in Visual Genome which attributes people gave to the objects of each class.",
        "attributes --classes airplane crane=crane.n.05 --visual-genome attributes.json --out birds-and-planes.json",
    )
    text = "class names; where one has several meanings, with WordNet's synsets, joined by commas"
    added.add_argument("--classes", metavar="NAME[=SYNSET]", nargs="+", default=[], help=text)
    text = "take the classes of this spec; --classes then says what some of them mean"
    added.add_argument("--spec", metavar="SPEC", type=Path, help=text)
    text = "Visual Genome's attributes.json"
    added.add_argument("--visual-genome", metavar="FILE", type=Path, required=True, help=text)
    text = "WordNet's files; $WNSEARCHDIR or /usr/share/wordnet by default"
    added.add_argument("--wordnet", metavar="DIR", type=Path, help=text)
    text = "JSON file to write, for prompts.clusters.path"
    added.add_argument("--out", metavar="FILE", type=Path, required=True, help=text)
    text = "leave out attributes of fewer objects; 1 by default"
    added.add_argument("--min-count", metavar="N", type=int, default=1, help=text)
    text = "count objects of the synsets alone, not of kinds of them"
    added.add_argument("--exact", action="store_true", help=text)


def attributes(arguments: Namespace) -> None:
    """Write the lists, and print how long each is."""
    from engine.config.spec_file import load_spec
    from engine.workflows.attribute_lists import classes_of, make_attribute_lists, match_classes

    synsets = _synsets(arguments.classes)
    if arguments.spec is not None:
        synsets = match_classes(synsets, classes_of(load_spec(arguments.spec)), str(arguments.spec))
    elif not synsets:
        raise SpecError("give --classes, or --spec to take its classes")
    lists = make_attribute_lists(
        synsets,
        arguments.visual_genome,
        WordNet(arguments.wordnet),
        exact=arguments.exact,
        min_count=arguments.min_count,
    )
    write_attributes(arguments.out, lists)
    print(f"{arguments.out}: {', '.join(f'{name} {len(words):,}' for name, words in lists.items())}")


def _synsets(arguments: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Parse NAME[=SYNSET,...]."""
    parts = (text.partition("=") for text in arguments)
    return {name: synsets.split(",") if equals else [] for name, equals, synsets in parts}
