"""The export formats by name."""

from engine.errors import SpecError
from engine.export.export_format import ExportWriter
from engine.export.formats.coco import CocoWriter
from engine.export.formats.image_folder import ImageFolderWriter
from engine.export.formats.parquet_files import ParquetFilesWriter

EXPORT_FORMATS: dict[str, type[ExportWriter]] = {
    "coco": CocoWriter,
    "imagefolder": ImageFolderWriter,
    "parquet": ParquetFilesWriter,
}


def make_writer(name: str, background: str | None) -> ExportWriter:
    """Return the writer of a format. background: see `CocoWriter`. Raises SpecError for one that does not exist."""
    if name not in EXPORT_FORMATS:
        raise SpecError(f"--to {name}: no such format; use one of {', '.join(EXPORT_FORMATS)}")
    if background is None:
        return EXPORT_FORMATS[name]()
    if name != "coco":
        raise SpecError(f"--background {background}: --to {name} has no mask classes; leave it out")
    return CocoWriter(background)
