"""The compared loaders. Each module has

    write(samples, folder)               writes the samples in the format that is fastest for this loader
    load(folder, workload, workers)      returns an iterable. Each pass is a shuffled epoch of batches (uint8 images,
                                         int64 labels), decoded by `workers` processes, or in this process for 0
    SETTINGS                             describes the settings for the table

Modules of loaders that can decode a whole batch at once, as ours does, take `ours=True` for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class System:
    """A row of the table.

    module:  module of this package.
    options: further arguments of the module's `load`.
    """

    module: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load_module(self) -> ModuleType:
        """Import the module, which imports the loader."""
        return import_module(f"{__name__}.{self.module}")


MARK = "measured: "
"""Prefix of a line with a result. Some loaders print other lines."""
OURS, LIMIT, REFERENCE = "shardmill", "limit", "webdataset"
SYSTEMS = {
    OURS: System("shardmill"),
    REFERENCE: System("tars"),
    "webdataset, our shards": System("ourtars"),
    "mosaicml-streaming": System("mds"),
    "litdata": System("chunks"),
    "megatron-energon": System("energon"),
    "datasets": System("arrow"),
    "ImageFolder": System("imagefolder"),
    LIMIT: System("limit"),
    "litdata, our decoder": System("chunks", {"ours": True}),
    "datasets, our decoder": System("arrow", {"ours": True}),
}
PEERS = tuple(name for name in SYSTEMS if name not in (OURS, LIMIT))
