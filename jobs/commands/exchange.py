"""The commands that exchange shards with other tools."""

from argparse import Namespace
from pathlib import Path

from engine.export.sidecar import DefaultProvenance
from jobs.arguments import AddCommand


def register(command: AddCommand) -> None:
    """Add the commands."""
    text = "Write the finished images of a run as an image folder, parquet files or COCO annotations."
    parser = command("export", export, text, "export runs/digits --to imagefolder --out digits-images --with-real")
    parser.add_argument("folder", metavar="RUN", type=Path, help="a run, or a folder of shards like RUN/real/train")
    parser.add_argument(
        "--to", metavar="FORMAT", required=True, help="imagefolder, parquet, coco, or a plug-in's format"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder")
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--splits", metavar="NAME=SHARE,...", help="divide by key, like train=0.8,validation=0.2")
    split.add_argument(
        "--with-real",
        action="store_true",
        help="train: real train and synthetic images; validation and test: real ones alone, as a sweep divided them",
    )
    parser.add_argument("--background", metavar="NAME", help="for coco: the mask class that gets no annotations")

    text = "Write synthetic images of another tool as shards; the same command again resumes."
    parser = command("import", import_, text, "import sdxl-images --out shards/sdxl --model sdxl --license openrail++")
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="FOLDER/<class>/<image>, perhaps with prompts beside"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--model", default="unknown", help="of the images whose metadata does not name it")
    parser.add_argument("--license", default="unknown", help="of the images whose metadata does not name it")
    parser.add_argument("--generation", metavar="N", type=int, default=1, help="generations of synthetic data in them")
    parser.add_argument("--classes-of", metavar="RUN", type=Path, help="take labels from this run or folder of shards")
    parser.add_argument("--skip-corrupt", action="store_true", help="record images that cannot be read, and continue")


def export(arguments: Namespace) -> None:
    """Write the export. Print what is missing from it, and which evaluation splits hold synthetic images."""
    from engine.workflows.exchanging import export_shards

    exported = export_shards(
        arguments.folder,
        arguments.out,
        arguments.to,
        shares=arguments.splits,
        real=arguments.with_real,
        background=arguments.background,
    )
    source = exported.source
    if units := source.unfinished_units:
        print(f"note: {units} units of {arguments.folder} are not finished; run generate again for the rest")
    if judges := exported.synthetic_judges:
        print(f"note: synthetic images in {' and '.join(judges)}; accuracy on them does not stand for real images")
    counts = ", ".join(f"{len(split):,} {split.name}".strip() for split in exported.splits)
    print(f"exported to {arguments.out}: {counts} images of {len(source.classes)} classes")


def import_(arguments: Namespace) -> None:
    """Write the shards. Print how many images were left out."""
    from engine.workflows.exchanging import import_folder

    defaults = DefaultProvenance(model=arguments.model, license=arguments.license, generation=arguments.generation)
    images = import_folder(
        arguments.folder,
        arguments.out,
        defaults,
        classes_of=arguments.classes_of,
        skip_corrupt=arguments.skip_corrupt,
    )
    kept = len(images.images) - len(images.corrupt)
    left_out = f"{images.duplicates:,} duplicates and {len(images.corrupt):,} corrupt files left out"
    print(f"imported to {arguments.out}: {kept:,} images of {len(images.classes)} classes; {left_out}")
