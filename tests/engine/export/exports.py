"""Helpers and class names for the tests of exports."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.export.shard_reader import read_samples
from jobs.__main__ import main
from shards.sample import Sample
from shards.storage.commit import sha256_of
from shards.storage.manifest import finished_tars
from tests.engine.shardsets import make_shards, plain_shards, sample

CLASSES = ("zebra", "sea lion", "größe")
# Names that escape the folder, are hidden, collide, or have a special meaning.
HOSTILE = (
    "..", ".", "/etc", "a/../../b", "a\\b", "con", "a\nb", "tab\t", "Cat", "cat", "CAT", "README.md", "metadata.jsonl",
    "train", "50%2F50", "50%", "50/50", "__init__", ".git", "dot.", " space ", "größe", "gro\u0308ße", "*?[x]",
    "a,b\u2028",
)  # fmt: skip


def exported(folder: Path, out: Path, export_format: str, *options: str) -> Path:
    assert main(["export", str(folder), "--to", export_format, "--out", str(out), *options]) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    assert main(["export", *(str(argument) for argument in arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) <= 2
    return error


def stored(folder: Path) -> Iterator[Sample]:
    for tar in finished_tars(folder):
        yield from read_samples(tar, range(pq.read_metadata(tar.with_suffix(".parquet")).num_rows))


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def make_run(folder: Path, classes: Sequence[str] = CLASSES, validation_is_real: bool = True) -> Path:
    """Write RUN/shards, and RUN/real with fewer metadata fields."""
    plain_shards(folder / "shards", classes)
    for split, synthetic in (("train", False), ("validation", not validation_is_real)):
        samples = []
        for n in range(6):
            base = sample(f"{split}{n}", n % 3, classes[n % 3], 100 + n, synthetic=synthetic, generation=0, split=split)
            meta = {name: value for name, value in base.meta.items() if name not in ("model", "seed", "score")}
            samples.append(Sample(base.key, base.image, "png", base.label, meta))
        make_shards(folder / "real" / split, classes, [samples])
    return folder
