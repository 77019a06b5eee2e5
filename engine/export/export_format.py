"""The interface of an export format; `formats` holds one file for each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from shards.sample import Sample


@dataclass(frozen=True)
class ExportSchema:
    """What all samples of an export have in common: class names in label order, and every json field with its type."""

    classes: tuple[str, ...]
    fields: pa.Schema


class ExportWriter(Protocol):
    """A writer of one format."""

    @property
    def data_files(self) -> str | None:
        """The glob of the files that a hub client must read; None if it cannot read the format."""
        ...

    def write(self, folder: Path, samples: Iterable[Sample], schema: ExportSchema) -> None:
        """Write a split into an empty folder. Raises SpecError or ShardError for samples that it cannot hold."""
        ...
