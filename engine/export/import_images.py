"""Writing synthetic images that another tool made as shards like our own."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.progress import track

from engine.data.real_shards import write_shard
from engine.errors import DataError, OutputError, RunMismatch
from engine.export.foreign_images import ForeignImage, ForeignImageSet
from engine.export.output_folder import check_space
from shards.stats import STATS_SUFFIX, Stats
from shards.storage.commit import sweep_staging
from shards.storage.manifest import read_all_stats
from shards.writing.dataset_card import DatasetCard, write_card

_PER_SHARD = 1000
_OURS = re.compile(r"\d{5}(\.tar|\.parquet|_stats\.json)|README\.md|_info\.json|sizes\.json|\.staging")


def refuse_corrupt(found: ForeignImageSet) -> None:
    """Raises DataError that names every image that cannot be decoded."""
    if found.corrupt:
        names = ", ".join(str(one.path) for one in found.corrupt)
        raise DataError(
            f"{len(found.corrupt)} corrupt images; mend or remove them, or record them with --skip-corrupt:\n{names}"
        )


def write_import(found: ForeignImageSet, out: Path) -> None:
    """Write the shards that are not finished, and the card. An image that cannot be decoded is a recorded failure.

    Raises RunMismatch where `out` holds another import, OutputError where it holds something else or cannot be written.
    """
    try:
        _check_target(found, out)
        out.mkdir(parents=True, exist_ok=True)
        pending = [start for start in range(0, len(found.images), _PER_SHARD) if not _stats_path(out, start).exists()]
        parts = {start: found.images[start : start + _PER_SHARD] for start in pending}
        check_space(out, sum(one.path.stat().st_size for part in parts.values() for one in part))
        for start, part in track(parts.items(), "writing"):
            _write(out, start, part, found.digest)
        text = "Synthetic images of another tool; validate on real ones. Imported by Shardmill."
        license = _common(one.meta["license"] for one in found.images)
        write_card(out, DatasetCard(out.absolute().name, text, license, ("synthetic", "webdataset"), found.classes))
        sweep_staging(out)
    except OSError as error:
        raise OutputError(f"--out {out}: cannot be written: {error}; choose another folder") from None


def _check_target(found: ForeignImageSet, out: Path) -> None:
    if out.resolve().is_relative_to(found.folder.resolve()):
        raise OutputError(f"--out {out}: lies within {found.folder}, where it would be one more class; choose another")
    strangers = [path.name for path in sorted(out.iterdir()) if not _OURS.fullmatch(path.name)] if out.exists() else []
    if strangers:
        raise OutputError(f"--out {out}: holds {strangers[0]}, which is no import's; choose a new folder")
    if any(stats["plan_digest"] != found.digest for stats in read_all_stats(out).values()):
        raise RunMismatch(f"--out {out} was begun with other images, or other facts of them; choose a new folder")


def _write(out: Path, start: int, part: Sequence[ForeignImage], digest: str) -> None:
    failures = [one.failure() for one in part if one.problem]
    facts: Stats = {"plan_digest": digest, "generation": max(int(one.meta["generation"]) for one in part)}
    facts |= {name: _common(one.meta[name] for one in part) for name in ("model", "revision", "license")}
    samples = (one.sample() for one in part if not one.problem)
    write_shard(out, _stats_path(out, start).name.removesuffix(STATS_SUFFIX), samples, failures, facts)


def _stats_path(out: Path, start: int) -> Path:
    return out / f"{start // _PER_SHARD:05d}{STATS_SUFFIX}"


def _common(values: Iterable[object]) -> str:
    found = {str(value) for value in values}
    return found.pop() if len(found) == 1 else "other"
