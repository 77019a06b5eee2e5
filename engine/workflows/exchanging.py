"""The jobs `export` and `import`: shards to other tools, and other tools' images to shards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engine.errors import SpecError
from engine.export.coco import write_coco
from engine.export.export_samples import FORMS, export
from engine.export.export_splits import ExportSplit, split_by_shares, parse_shares, whole_split, split_with_real
from engine.export.foreign_images import ForeignImageSet, read_foreign_images
from engine.export.import_images import refuse_corrupt, write_import
from engine.export.shard_reader import ShardFolder, open_shard_folder
from engine.export.sidecar import DefaultProvenance, Sidecar


@dataclass(frozen=True)
class Exported:
    """What was read and what was written."""

    source: ShardFolder
    splits: Sequence[ExportSplit]

    @property
    def synthetic_judges(self) -> list[str]:
        """Names of the splits besides train that hold synthetic images."""
        return [split.name for split in self.splits if split.name not in ("", "train") and split.synthetic]


def export_shards(
    folder: Path, out: Path, form: str, *, shares: str | None, real: bool, background: str | None
) -> Exported:
    """Write the finished images of a run, or of a folder of shards, in another form.

    form:       one of FORMS.
    shares:     divide by key, like train=0.8,validation=0.2.
    real:       add the real images of each split.
    background: of coco, the mask class without annotations.
    """
    writer = FORMS[form]
    if background is not None:
        if form != "coco":
            raise SpecError(f"--background {background}: only --to coco has mask classes")
        writer = replace(writer, write=partial(write_coco, background=background))
    source = open_shard_folder(folder)
    if real:
        splits = split_with_real(folder, source)
    else:
        splits = whole_split(source) if shares is None else split_by_shares(source, parse_shares(shares))
    export(splits, source.classes, writer, out)
    return Exported(source, splits)


def import_folder(
    folder: Path, out: Path, maker: DefaultProvenance, *, classes_of: Path | None, skip_corrupt: bool
) -> ForeignImageSet:
    """Write the synthetic images of another tool as shards; the same call again resumes.

    classes_of:   take the labels from this run or folder of shards.
    skip_corrupt: record images that cannot be read, and continue. Otherwise they raise DataError.
    """
    classes = None if classes_of is None else open_shard_folder(classes_of).classes
    images = read_foreign_images(Sidecar(folder, maker), classes)
    if not skip_corrupt:
        refuse_corrupt(images)
    write_import(images, out)
    return images
