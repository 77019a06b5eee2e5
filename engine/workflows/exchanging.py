"""The jobs `export` and `import`: shards to other tools, and other tools' images to shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.export.export_samples import export_samples
from engine.export.export_splits import ExportSplit, parse_shares, split_by_shares, split_with_real, whole_split
from engine.export.foreign_images import ForeignImageSet, read_foreign_images
from engine.export.formats import make_writer
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
    folder: Path, out: Path, export_format: str, *, shares: str | None, real: bool, background: str | None
) -> Exported:
    """Write the finished images of a run, or of a folder of shards, in another format.

    shares:     divide by key, like train=0.8,validation=0.2.
    real:       add the real images of each split.
    background: the mask class without annotations, for formats that have this setting.
    """
    writer, source = make_writer(export_format, background), open_shard_folder(folder)
    if real:
        splits = split_with_real(folder, source)
    else:
        splits = whole_split(source) if shares is None else split_by_shares(source, parse_shares(shares))
    export_samples(splits, source.classes, writer, out)
    return Exported(source, splits)


def import_folder(
    folder: Path, out: Path, defaults: DefaultProvenance, *, classes_of: Path | None, skip_corrupt: bool
) -> ForeignImageSet:
    """Write the synthetic images of another tool as shards; the same call again resumes.

    classes_of:   take the labels from this run or folder of shards.
    skip_corrupt: record images that cannot be read, and continue. Otherwise they raise DataError.
    """
    classes = None if classes_of is None else open_shard_folder(classes_of).classes
    images = read_foreign_images(Sidecar(folder, defaults), classes)
    if not skip_corrupt:
        refuse_corrupt(images)
    write_import(images, out)
    return images
