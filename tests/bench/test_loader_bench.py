"""The loader benchmark: every system must bring the same samples, and rows must say what was measured."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.__main__ import parser
from bench.loader import environment
from bench.loader.decode import Batch, decode
from bench.loader.measure import Task, Truth, memory, mix, throughput
from bench.loader.systems import SYSTEMS
from bench.loader.table import Measured, impossible, markdown, mix_rows, rows, with_memory
from bench.loader.workloads import WORKLOADS, Samples, Workload, make_samples

HERE = ("shardmill", "webdataset", "webdataset, our shards", "datasets", "datasets, our decoder", "ImageFolder")
"""Loaders of which our own environment has a version; the others are measured in the benchmark's environment only."""
TINY = {form: Workload(form, size, form, 8, 10) for form, size in (("png", 32), ("jpg", 64))}


@pytest.fixture(scope="module", params=TINY)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workload, Path]:
    workload, folder = TINY[request.param], tmp_path_factory.mktemp(request.param)
    make_samples(workload, folder / "samples")
    for name in HERE:
        place = folder / SYSTEMS[name].module
        if not place.exists():
            SYSTEMS[name].load_module().write(Samples(folder / "samples"), place)
    return workload, folder


# webdataset leaves the tars it has read to the collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("name", HERE)
def test_every_loader_yields_the_same_samples_reshuffled(name: str, written: tuple[Workload, Path]) -> None:
    workload, folder = written
    samples = Samples(folder / "samples")
    expected = sorted((decode(data).tobytes(), label) for data, label in samples)
    loader = Task(name, workload, folder, 0, 0.0).load()
    epochs = [_pairs(loader), _pairs(loader)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == expected
    assert epochs[0] != epochs[1] != expected


def _pairs(loader: Iterable[Batch]) -> list[tuple[bytes, int]]:
    batches = []
    for images, labels in loader:
        assert images.dtype == torch.uint8
        channels_last = images if images.shape[-1] == 3 else images.permute(0, 2, 3, 1)
        for image, label in zip(channels_last.numpy(), labels.tolist(), strict=True):
            batches.append((np.ascontiguousarray(image).tobytes(), label))
    return batches


def test_epoch_with_a_missing_or_mislabelled_sample_is_refused(written: tuple[Workload, Path]) -> None:
    workload, folder = written
    truth = Truth.of(Samples(folder / "samples"))
    batches = list(Task("ImageFolder", workload, folder, 0, 0.0).load())
    list(truth.checked(batches))
    images, labels = batches[-1]
    for wrong in ((images[1:], labels[1:]), (images, labels + 1)):
        with pytest.raises(ValueError, match="samples with labels' sum"):
            list(truth.checked([*batches[:-1], wrong]))
    with pytest.raises(ValueError, match="float32"):
        list(truth.checked([(images.float(), labels)]))


def test_samples_of_another_size_of_the_workload_are_refused(written: tuple[Workload, Path]) -> None:
    workload, folder = written
    with pytest.raises(ValueError, match="has 80 samples, not 88: remove that folder"):
        throughput(Task("shardmill", replace(workload, batches=11), folder, 0, 0.01))


def test_a_measuring_process_takes_its_task_from_the_command_line(written: tuple[Workload, Path]) -> None:
    task = {"workload": "32x32 PNG", "folder": str(written[1]), "workers": 0, "seconds": 0.01}
    line = [sys.executable, "-m", "bench.loader.measure", "throughput", "shardmill", json.dumps(task)]
    completed = subprocess.run(line, capture_output=True, text=True, check=False)
    assert completed.returncode == 1
    assert "has 80 samples, not 10240: remove that folder" in completed.stderr


def test_measurements_are_made_by_real_loaders(written: tuple[Workload, Path]) -> None:
    workload, folder = written
    for name, workers in itertools.product(("shardmill", "limit"), (0, 2)):
        assert throughput(Task(name, workload, folder, workers, 0.01))["rate"] > 0
    measured = memory(Task("shardmill", workload, folder, 0, 0.0))
    assert len(measured["pss"]) == 10
    assert all(0 < pss <= rss for pss, rss in zip(measured["pss"], measured["rss"], strict=True))
    assert mix(Task("shardmill", workload, folder, 0, 0.01)).keys() == {"one", "two"}


def test_rows_hold_medians_and_ratios() -> None:
    rates = {"shardmill": [30, 50, 40], "webdataset": [5, 4, 3], "litdata": [20, 21, 19], "limit": [50, 50, 50]}
    measured = [Measured("w", "one process", name, rate) for name, found in rates.items() for rate in found]
    ours, reference, peer, limit = rows(measured, dict.fromkeys(rates, "settings"))
    assert (ours["median"], ours["min"], ours["max"], ours["rounds"]) == (40, 30, 50, 3)
    assert [ours[f"ratio_to_{name}"] for name in ("webdataset", "best_peer", "limit")] == [10, 2, 0.8]
    assert (ours["best_peer"], peer["ratio_to_best_peer"], limit["ratio_to_limit"]) == ("litdata", 1, 1)
    assert (
        with_memory(reference, {"pss": [3.2, 9, 4]}).items()
        >= {
            "pss_first_epoch_mb": 3,
            "pss_last_epoch_mb": 4,
            "pss_peak_mb": 9,
        }.items()
    )
    two = mix_rows("w", [{"one": 10, "two": 9}, {"one": 8, "two": 8}, {"one": 12, "two": 11.4}])[1]
    assert two["ratio_to_one_source"] == 0.95
    facts = {"w": {"count": 3, "source": "s", "mean_bytes": 7.0}}
    assert "| 40 (30 to 50) | 10.00 | 2.00 | 0.80 |" in markdown([ours, two], facts, {"cores": 2})
    json.dumps([ours, two])


def test_a_rate_above_the_limit_is_called_wrong() -> None:
    rates = {"shardmill": 104.0, "megatron-energon": 179.0, "limit": 100.0}
    table = rows([Measured("w", "all cores", *rate) for rate in rates.items()], dict.fromkeys(rates, ""))
    (line,) = impossible(table)
    assert "megatron-energon has 1.79 of the decode limit" in line
    assert line in markdown(table, {"w": {"count": 3, "source": "s", "mean_bytes": 7.0}}, {})


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=str)
@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_buffers_still_take_in_samples_when_the_clock_stops(workload: Workload, workers: int) -> None:
    timed_until = workload.batch_size * (workload.batches - workload.margin)
    assert timed_until + max(1, workers) * workload.buffer(workers) < workload.count


@pytest.mark.slow
def test_the_environment_is_made_once_for_its_requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    monkeypatch.setattr(environment, "REQUIREMENTS", requirements)
    monkeypatch.delenv("SHARDMILL_BENCH_PYTHON", raising=False)
    requirements.write_text("# nothing\n")
    created = environment.python(tmp_path).lstat()
    assert environment.python(tmp_path).lstat() == created
    requirements.write_text("# something else\n")
    assert environment.python(tmp_path).lstat() != created
    monkeypatch.setenv("SHARDMILL_BENCH_PYTHON", sys.executable)
    assert environment.python(tmp_path) == Path(sys.executable)


def test_the_command_line_has_both_benchmarks() -> None:
    options = parser().parse_args(["loader", "--json", "rows.json", "--workload", "32x32 PNG", "--rounds", "3"])
    assert (options.name, options.json, options.workload, options.rounds) == (
        "loader",
        Path("rows.json"),
        ["32x32 PNG"],
        3,
    )
    assert parser().parse_args(["diversity", "--out", "there"]).out == Path("there")
