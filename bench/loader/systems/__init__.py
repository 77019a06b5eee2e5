"""The loaders that are compared. Each module has

    write(samples, folder)               writes the samples in the form that this loader is best at
    load(folder, workload, workers)      epochs: every `iter` of what it returns is one shuffled epoch of batches
                                         (uint8 images, int64 labels), decoded by `workers` processes, or in this one
    SETTINGS                             what was chosen, for the table

and modules of loaders that can also decode a whole batch at once, as ours does, take `ours=True` for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class System:
    """One row of the table: a module of this package, and further arguments of its `load`."""

    module: str
    package: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load_module(self) -> ModuleType:
        """The module, which imports the loader."""
        return import_module(f"{__name__}.{self.module}")


MARK = "measured: "
"""Begins a line with a result: some loaders print lines of their own."""
OURS, LIMIT, REFERENCE = "shardmill", "limit", "webdataset"
SYSTEMS = {
    OURS: System("shardmill", "numpy"),
    REFERENCE: System("tars", "webdataset"),
    "webdataset, our shards": System("ourtars", "webdataset"),
    "mosaicml-streaming": System("mds", "mosaicml-streaming"),
    "litdata": System("chunks", "litdata"),
    "megatron-energon": System("energon", "megatron-energon"),
    "datasets": System("arrow", "datasets"),
    "ImageFolder": System("imagefolder", "torchvision"),
    LIMIT: System("limit", "numpy"),
    "litdata, our decoder": System("chunks", "litdata", {"ours": True}),
    "datasets, our decoder": System("arrow", "datasets", {"ours": True}),
}
PEERS = tuple(name for name in SYSTEMS if name not in (OURS, LIMIT))
