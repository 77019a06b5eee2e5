"""Making lists of attributes for prompts."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from jobs.arguments import AddCommand


def register(command: AddCommand) -> None:
    """The commands of this file."""
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
    from engine.prompts.visual_genome import choose_synsets, count_attributes, ranked, with_hyponyms, write_attributes
    from engine.prompts.wordnet import WordNet

    wordnet = WordNet(arguments.wordnet)
    synsets = choose_synsets(_classes(arguments.classes, arguments.spec), wordnet)
    if not arguments.exact:
        synsets = with_hyponyms(synsets, wordnet)
    lists = ranked(count_attributes(arguments.visual_genome, synsets), arguments.min_count)
    write_attributes(arguments.out, lists)
    print(f"{arguments.out}: {', '.join(f'{name} {len(found):,}' for name, found in lists.items())}")


def _classes(given: Sequence[str], spec: Path | None) -> dict[str, list[str]]:
    """Synsets by class name; none where only the name is given."""
    from engine.errors import SpecError

    parts = (text.partition("=") for text in given)
    meant = {name: synsets.split(",") if equals else [] for name, equals, synsets in parts}
    if spec is None:
        if not meant:
            raise SpecError("give --classes, or --spec to take its classes")
        return meant
    names = _classes_of(spec)
    if strange := meant.keys() - set(names):
        raise SpecError(f"--classes: {spec} has no class {min(strange)!r}; it has {', '.join(names)}")
    return {name: meant.get(name, []) for name in names}


def _classes_of(path: Path) -> Sequence[str]:
    from engine.config.spec_file import load_spec

    spec = load_spec(path)
    if spec.data is None:
        return spec.classes or ()

    from engine.data.splits import open_source

    return open_source(spec.data).classes
