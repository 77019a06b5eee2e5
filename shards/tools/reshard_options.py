"""Options of a reshard: what is kept of the samples, and how they are divided into shards."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from shards.errors import ShardError
from shards.reading.members import Members
from shards.reading.selection import read_selection
from shards.reading.tar_samples import TarSample
from shards.sample import MEMBER_EXTENSIONS


@dataclass(frozen=True)
class ReshardOptions:
    """What to write.

    per_shard:     samples per shard, if `shards` is None.
    shards:        number of shards, of nearly equal size.
    select:        keys to keep; None: all.
    extra_members: extensions to keep besides the known ones.
    roles:         which members are what.
    """

    per_shard: int = 1000
    shards: int | None = None
    select: frozenset[str] | None = None
    extra_members: tuple[str, ...] = ()
    roles: Members = field(default_factory=Members)

    def keeps_member(self, extension: str) -> bool:
        """Return whether members of this extension are written."""
        roles = self.roles
        return extension in (*MEMBER_EXTENSIONS, *roles.image, roles.label, roles.mask, *self.extra_members)

    def keeps_sample(self, sample: TarSample) -> bool:
        """Return whether a sample is written."""
        return sample.image is not None and (self.select is None or sample.key in self.select)

    def column(self, extension: str, sample: TarSample) -> str:
        """Return the name of a member in the index."""
        known = {sample.image: "image", self.roles.mask: "mask", self.roles.label: "cls"}
        return known.get(extension, extension)

    def shard_ranges(self, total: int) -> list[range]:
        """Return the sample numbers of each shard. Raise ShardError where a shard would be empty."""
        if self.shards is None:
            return [range(start, min(start + self.per_shard, total)) for start in range(0, total, self.per_shard)]
        if self.shards > total:
            raise ShardError(f"--shards {self.shards}: there are only {total} samples; use fewer shards")
        bounds = [total * number // self.shards for number in range(self.shards + 1)]
        return [range(start, stop) for start, stop in pairwise(bounds)]


def read_selected_keys(path: Path) -> frozenset[str]:
    """Return the column `key` of a parquet file. Raise ShardError where it is unreadable or has weights."""
    table = read_selection(path)
    if "weight" in table.column_names:
        columns = ", ".join(table.column_names)
        raise ShardError(f"{path}: has columns {columns}; only streams accept `weight`: remove it")
    return frozenset(table["key"].cast(pa.string()).to_pylist())
