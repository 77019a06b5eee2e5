"""Shards to other tools, and other tools' images to shards."""

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.export.export_samples import Form
    from engine.export.export_splits import ExportSplit
    from engine.export.shard_reader import Collection


def register(command: AddCommand) -> None:
    """The commands of this file."""
    text = "Write the finished images of a run as an image folder, parquet files or COCO annotations."
    out = command("export", export, text, "export runs/digits --to imagefolder --out digits-images --with-real")
    out.add_argument("folder", metavar="RUN", type=Path, help="a run, or a folder of shards like RUN/real/train")
    out.add_argument("--to", choices=("imagefolder", "parquet", "coco"), required=True, help="the form")
    out.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder")
    split = out.add_mutually_exclusive_group()
    split.add_argument("--splits", metavar="NAME=SHARE,...", help="divide by key, like train=0.8,validation=0.2")
    split.add_argument(
        "--with-real",
        action="store_true",
        help="train: real train and synthetic images; validation and test: real ones alone, as a sweep divided them",
    )
    out.add_argument("--background", metavar="NAME", help="for coco: the mask class that gets no annotations")

    text = "Write synthetic images of another tool as shards; the same command again resumes."
    back = command("import", import_, text, "import sdxl-images --out shards/sdxl --model sdxl --license openrail++")
    back.add_argument("folder", metavar="FOLDER", type=Path, help="FOLDER/<class>/<image>, perhaps with prompts beside")
    back.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the shards")
    back.add_argument("--model", default="unknown", help="what made the images whose metadata does not say")
    back.add_argument("--license", default="unknown", help="of the images whose metadata does not say")
    back.add_argument("--generation", metavar="N", type=int, default=1, help="generations of synthetic data in them")
    back.add_argument("--classes-of", metavar="RUN", type=Path, help="take labels from this run or folder of shards")
    back.add_argument("--skip-corrupt", action="store_true", help="record images that cannot be read, and go on")


def export(arguments: Namespace) -> None:
    """Write the export; say what is missing from it, and where synthetic images would judge."""
    from engine.export.export_samples import FORMS
    from engine.export.export_samples import export as write
    from engine.export.shard_reader import open_collection

    source = open_collection(arguments.folder)
    parts = _parts(source, arguments)
    write(parts, source.classes, _form(FORMS[arguments.to], arguments), arguments.out)
    if source.missing:
        print(f"note: {source.missing} units of {arguments.folder} are not finished; run generate again for the rest")
    judged = [part.name for part in parts if part.name not in ("", "train") and part.synthetic]
    if judged:
        print(f"note: synthetic images in {' and '.join(judged)}; what they say of a model is not what real ones say")
    counts = ", ".join(f"{len(part):,} {part.name}".strip() for part in parts)
    print(f"exported to {arguments.out}: {counts} images of {len(source.classes)} classes")


def import_(arguments: Namespace) -> None:
    """Write the shards; say what was left out."""
    from engine.export.foreign_images import read_foreign_images
    from engine.export.import_images import refuse_corrupt, write_import
    from engine.export.shard_reader import open_collection
    from engine.export.sidecar import ImageMaker, Sidecar

    maker = ImageMaker(model=arguments.model, license=arguments.license, generation=arguments.generation)
    like = None if arguments.classes_of is None else open_collection(arguments.classes_of).classes
    found = read_foreign_images(Sidecar(arguments.folder, maker), like)
    if not arguments.skip_corrupt:
        refuse_corrupt(found)
    write_import(found, arguments.out)
    kept = len(found.images) - len(found.corrupt)
    left_out = f"{found.duplicates:,} duplicates and {len(found.corrupt):,} corrupt files left out"
    print(f"imported to {arguments.out}: {kept:,} images of {len(found.classes)} classes; {left_out}")


def _parts(source: "Collection", arguments: Namespace) -> "Sequence[ExportSplit]":
    from engine.export.export_splits import divided, parse_shares, undivided, with_real

    if arguments.with_real:
        return with_real(arguments.folder, source)
    return divided(source, parse_shares(arguments.splits)) if arguments.splits else undivided(source)


def _form(form: "Form", arguments: Namespace) -> "Form":
    if arguments.background is None:
        return form
    from dataclasses import replace

    from engine.errors import SpecError
    from engine.export.coco import write_coco

    if arguments.to != "coco":
        raise SpecError(f"--background {arguments.background}: only --to coco has mask classes")
    return replace(form, write=partial(write_coco, background=arguments.background))
