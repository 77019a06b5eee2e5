"""What the samples of an export have in common."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Header:
    """classes: names in label order. fields: every json field of any sample, with its type."""

    classes: tuple[str, ...]
    fields: pa.Schema
