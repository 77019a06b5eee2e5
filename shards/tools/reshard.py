"""Resharding: write samples into new shards, with the bytes of every member unchanged."""

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from shards.codec import detect_format
from shards.errors import ShardError
from shards.reading.tar_samples import TarSample, read_tar_samples
from shards.reading.tar_scan import TarData, map_file, member_bytes
from shards.sample import Scalar
from shards.stats import STATS_SUFFIX, Stats
from shards.storage.commit import sweep_staging
from shards.storage.manifest import publish_stats, read_all_stats
from shards.storage.open_store import open_store
from shards.storage.shard_cache import ShardCache
from shards.tools.reshard_plan import ReshardPlan
from shards.writing.dataset_card import DatasetCard, write_card
from shards.writing.shard_writer import PublishedFile, ShardWriter

_KNOWN_FILES = re.compile(r"\d{5,}(\.tar|\.parquet|_stats\.json)|README\.md|_info\.json|sizes\.json|\.staging")
_UNLABELLED = "no label"


class Resharder:
    """A writer of the shards of a plan into a folder. It resumes a folder that the same plan began."""

    def __init__(self, plan: ReshardPlan, out: Path, cache: ShardCache) -> None:
        self._plan, self._out, self._cache = plan, out, cache

    def prepare_folder(self) -> None:
        """Create the folder, or check that this plan began it. Raise ShardError where it holds something else."""
        plan, out = self._plan, self._out
        if any(tar.local is not None and tar.local.parent.resolve() == out.resolve() for tar in plan.tars):
            raise ShardError(f"--out {out}: is the source; choose a new folder")
        names = sorted(path.name for path in out.iterdir()) if out.exists() else []
        if unknown := [name for name in names if not _KNOWN_FILES.fullmatch(name)]:
            raise ShardError(f"--out {out}: holds {unknown[0]}, which reshard did not write; choose a new folder")
        if any(stats.get("plan_digest") != plan.digest for stats in read_all_stats(out).values()):
            raise ShardError(f"--out {out}: was written from other shards or with other options; choose a new folder")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ShardError(f"--out {out}: cannot be written: {error.strerror}; choose another folder") from None

    def write(self) -> Iterator[int]:
        """Write every unfinished shard, then the card; yield the samples done so far. Raise ShardError."""
        plan = self._plan
        samples = self._samples()
        for number, numbers in enumerate(plan.options.shard_ranges(plan.total)):
            name = f"{number:05d}"
            shard_samples = islice(samples, len(numbers))
            if (self._out / f"{name}{STATS_SUFFIX}").exists():
                deque(shard_samples, maxlen=0)  # skip the samples of a finished shard
            else:
                self._write_shard(name, shard_samples, len(numbers))
            yield numbers.stop
        license = plan.provenance.get("license", "other")
        text = "Resharded by Shardmill from other shards; the samples are unchanged."
        write_card(self._out, DatasetCard("resharded", text, license, plan.tags, plan.classes))
        sweep_staging(self._out)

    def _write_shard(self, name: str, samples: Iterator[tuple[TarSample, TarData]], count: int) -> None:
        plan, options = self._plan, self._plan.options
        kept: Counter[str] = Counter()
        ranges = [(f"{column}_{part}", pa.int64()) for column in plan.columns for part in ("offset", "size")]
        schema = pa.schema([*plan.fields, ("image_format", pa.string()), *ranges])
        with ShardWriter(self._out, name, schema) as writer:
            for sample, data in samples:
                members = {ext: member for ext, member in sample.members.items() if options.keeps_member(ext)}
                files = [(member.name, member_bytes(data, member)) for member in members.values()]
                columns = [options.column(extension, sample) for extension in members]
                writer.append(sample.key, files, columns, self._row(sample, data))
                kept[_UNLABELLED if sample.label is None else plan.classes[sample.label]] += 1
            if kept.total() < count:
                raise ShardError(f"{plan.tars[-1].url}: the shards have changed while they were read; start again")
            files_written = writer.publish()
        publish_stats(open_store(self._out), name, self._stats(name, kept, files_written))

    def _row(self, sample: TarSample, data: TarData) -> dict[str, Scalar | None]:
        assert sample.image is not None
        plan, label, image = self._plan, sample.label, sample.members[sample.image]
        return {
            **{name: sample.metadata.get(name) for name in plan.fields.names},
            **{f"{column}_offset": -1 for column in plan.columns},
            **{f"{column}_size": 0 for column in plan.columns},
            "key": sample.key,
            "label": -1 if label is None else label,
            "class_name": plan.classes[label] if plan.has_class_names and label is not None else sample.class_name,
            "synthetic": sample.synthetic,
            "image_format": detect_format(data[image.offset : image.offset + 12]),
        }

    def _stats(self, name: str, kept: Counter[str], files: Sequence[PublishedFile]) -> Stats:
        return {
            "unit": int(name),
            "count": kept.total(),
            "planned": dict(kept),
            "kept": dict(kept),
            "failed": dict.fromkeys(kept, 0),
            "rejected": {},
            "failures": [],
            "files": [file.as_json() for file in files],
            "plan_digest": self._plan.digest,
            **self._plan.provenance,
        }

    def _samples(self) -> Iterator[tuple[TarSample, TarData]]:
        options = self._plan.options
        for tar in self._plan.tars:
            with map_file(self._cache.path(tar), tar.url) as data:
                for sample in read_tar_samples(data, tar.url, options.roles):
                    if options.keeps_sample(sample):
                        yield sample, data
