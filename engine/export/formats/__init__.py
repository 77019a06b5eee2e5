"""The export formats by name."""

from collections.abc import Callable

from engine.errors import SpecError
from engine.export.export_format import ExportWriter
from engine.export.formats.coco import CocoWriter
from engine.export.formats.image_folder import ImageFolderWriter
from engine.export.formats.parquet_files import ParquetFilesWriter

EXPORT_FORMATS: dict[str, Callable[[], ExportWriter]] = {
    "coco": CocoWriter,
    "imagefolder": ImageFolderWriter,
    "parquet": ParquetFilesWriter,
}


def make_writer(name: str, background: str | None) -> ExportWriter:
    """Return the writer of a format. Raises SpecError if there is no such format, or it takes no `background` class."""
    if name not in EXPORT_FORMATS:
        raise SpecError(f"--to {name}: no such format; use one of {', '.join(EXPORT_FORMATS)}")
    writer = EXPORT_FORMATS[name]()
    if background is not None:
        if not isinstance(writer, CocoWriter):
            raise SpecError(f"--background {background}: --to {name} has no mask classes; leave it out")
        writer.background = background
    return writer
