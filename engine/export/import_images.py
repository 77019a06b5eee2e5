"""The writing of another tool's synthetic images as shards of our format."""

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

_IMAGES_PER_SHARD = 1000
_IMPORT_FILES = re.compile(r"\d{5}(\.tar|\.parquet|_stats\.json)|README\.md|_info\.json|sizes\.json|\.staging")


def refuse_corrupt(images: ForeignImageSet) -> None:
    """Raise DataError, which names every image that cannot be decoded, if there are any."""
    if images.corrupt:
        paths = ", ".join(str(image.path) for image in images.corrupt)
        raise DataError(
            f"{len(images.corrupt)} corrupt images; repair or remove them, or record them with --skip-corrupt:\n{paths}"
        )


def write_import(images: ForeignImageSet, out: Path) -> None:
    """Write the shards that are not finished, and the card. An image that cannot be decoded is a recorded failure.

    Raises RunMismatch if `out` holds another import, OutputError if it holds other files or cannot be written.
    """
    try:
        _check_target(images, out)
        out.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(images.images), _IMAGES_PER_SHARD)
        pending = {
            start: images.images[start : start + _IMAGES_PER_SHARD]
            for start in starts
            if not _stats_path(out, start).exists()
        }
        check_space(out, sum(image.path.stat().st_size for shard in pending.values() for image in shard))
        for start, shard in track(pending.items(), "writing"):
            _write_shard(out, start, shard, images.digest)
        text = "Synthetic images of another tool; validate on real ones. Imported by Shardmill."
        license = _common(image.meta["license"] for image in images.images)
        write_card(out, DatasetCard(out.absolute().name, text, license, ("synthetic", "webdataset"), images.classes))
        sweep_staging(out)
    except OSError as error:
        raise OutputError(f"--out {out}: cannot be written: {error}; choose another folder") from None


def _check_target(images: ForeignImageSet, out: Path) -> None:
    if out.resolve().is_relative_to(images.folder.resolve()):
        raise OutputError(f"--out {out}: lies within {images.folder}, where it would be another class; choose another")
    others = (
        [path.name for path in sorted(out.iterdir()) if not _IMPORT_FILES.fullmatch(path.name)] if out.exists() else []
    )
    if others:
        raise OutputError(f"--out {out}: holds {others[0]}, which is not of an import; choose a new folder")
    if any(stats["plan_digest"] != images.digest for stats in read_all_stats(out).values()):
        raise RunMismatch(f"--out {out}: begun with other images or other metadata; choose a new folder")


def _write_shard(out: Path, start: int, images: Sequence[ForeignImage], digest: str) -> None:
    failures = [image.failure() for image in images if image.problem]
    facts: Stats = {"plan_digest": digest, "generation": max(int(image.meta["generation"]) for image in images)}
    facts |= {name: _common(image.meta[name] for image in images) for name in ("model", "revision", "license")}
    samples = (image.sample() for image in images if not image.problem)
    write_shard(out, _stats_path(out, start).name.removesuffix(STATS_SUFFIX), samples, failures, facts)


def _stats_path(out: Path, start: int) -> Path:
    return out / f"{start // _IMAGES_PER_SHARD:05d}{STATS_SUFFIX}"


def _common(values: Iterable[object]) -> str:
    """Return the value that all have, or `other`."""
    distinct = {str(value) for value in values}
    return distinct.pop() if len(distinct) == 1 else "other"
