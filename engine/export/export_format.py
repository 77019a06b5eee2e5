"""The interface of an export format. Each format is one plug-in file in `formats/`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pydantic import ValidationError

from engine.config.strict import Strict
from engine.errors import SpecError
from engine.plugins import PluginFamily
from shards.sample import Sample


@dataclass(frozen=True)
class ExportSchema:
    """What all samples of an export have in common.

    classes: names in label order.
    fields:  every json field of any sample, with its type.
    """

    classes: tuple[str, ...]
    fields: pa.Schema


class ExportSettings(Strict):
    """The settings of an export format. `name` is a Literal in each and tells them apart."""

    name: str


class ExportWriter(Protocol):
    """A writer of one format.

    data_files: glob of the files that a hub client must read; None if it cannot read the format.
    """

    data_files: str | None

    def write(self, folder: Path, samples: Iterable[Sample], schema: ExportSchema) -> None:
        """Write a split into an empty folder. Raises SpecError or ShardError for samples that it cannot hold."""
        ...


EXPORT_FORMATS = PluginFamily[ExportSettings](
    "export format", key="name", folder="engine.export.formats", group="shardmill.export_formats"
)
"""Their factories take the settings and return an `ExportWriter`."""


def make_writer(name: str, background: str | None) -> ExportWriter:
    """Return the writer of a format.

    background: the mask class that gets no annotations, for formats that have this setting. Raises SpecError for an
    unknown format, or one without the setting.
    """
    options = {} if background is None else {"background": background}
    try:
        writer: ExportWriter = EXPORT_FORMATS.make(EXPORT_FORMATS.parse({"name": name, **options}))
    except ValidationError as error:
        if error.errors()[0]["type"] == "extra_forbidden":
            raise SpecError(f"--background {background}: --to {name} has no mask classes; leave it out") from None
        raise SpecError(f"--to {name}: no such format; use one of {', '.join(EXPORT_FORMATS.known)}") from None
    return writer
