"""`model.batch_size: auto` by the commands: measured once, then a number for every command."""

import json
import re
from pathlib import Path

import pytest

from engine.run.run import load_run
from jobs.__main__ import main
from shards.storage.manifest import read_index
from tests.conftest import Jobs, text_of, write_spec

SPEC = {
    "name": "auto",
    "classes": ["zero", "one"],
    "plan": {"per_class": 8},
    "prompts": {"templates": ["a {size} handwritten {class}"], "attributes": {"size": ["small", "midsize", "large"]}},
    "model": {"source": "embedded/digits", "steps": 4, "batch_size": "auto"},
    "output": {"samples_per_shard": 8},
    "cluster": {"max_actors": 1},
}


@pytest.mark.usefixtures("shared_ray")
def test_auto_is_measured_once_and_then_a_number(
    jobs: Jobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, place = write_spec(tmp_path, SPEC), tmp_path / "run"
    generate = ["generate", str(spec), "--out", str(place)]
    assert main([*generate, "--dry-run"]) == 0
    assert "batch size: auto, measured when the run begins; this plan assumes 16" in capsys.readouterr().out
    assert not place.exists()

    completed = jobs(*generate)
    assert completed.returncode == 0, text_of(completed)
    shown = {int(size): float(rate) for size, rate in re.findall(r"batch size (\d+): ([\d.]+) img/s", completed.stdout)}
    kept = json.loads((place / "batch_size.json").read_text())
    size = kept["batch_size"]
    assert set(shown) >= {1, 2, 4}
    assert {int(n): rate for n, rate in kept["images_per_second"].items()} == pytest.approx(shown, abs=0.06)
    assert f"batch size: {size} for the whole run" in completed.stdout
    run = load_run(place)
    assert run.context.spec.model.batch_size == size
    assert {stats["batch_size"] for stats in run.stats().values()} == {size}
    assert {stats["device"] for stats in run.stats().values()} == {kept["device"]}
    assert not list(tmp_path.glob(".measure-*"))

    spent = json.loads((place / "cost.json").read_text())["actor_seconds"]
    seconds = sum(stats["duration_s"] for stats in run.stats().values())
    assert spent > seconds + len(shown), "each size was timed for a second or more"

    begun = (place / "spec.yaml").read_bytes(), (place / "batch_size.json").read_bytes()
    for again in ([], ["--set", f"model.batch_size={size}"], ["--dry-run"]):
        assert main([*generate, *again]) == 0
        assert "batch size" not in capsys.readouterr().out, "nothing is measured again"
    assert ((place / "spec.yaml").read_bytes(), (place / "batch_size.json").read_bytes()) == begun
    assert main([*generate, "--set", f"model.batch_size={size + 1}"]) == 2
    assert f"model.batch_size: {size} -> {size + 1}" in capsys.readouterr().err

    assert main(["replay", str(place), read_index(run.shards, "00001")["key"][3].as_py()]) == 0
    assert "equal, byte for byte" in capsys.readouterr().out


def test_nothing_is_measured_once_the_budget_is_spent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Repeated failures of the measurement lead to this state."""
    spec, place = write_spec(tmp_path, {**SPEC, "budget": {"gpu_hours": 1}}), tmp_path / "run"
    place.mkdir()
    (place / "cost.json").write_text('{"actor_seconds": 3600, "actor_hours": 1, "dollars": null, "unpriced_hours": 1}')
    assert main(["generate", str(spec), "--out", str(place)]) == 3
    assert "no batch size was measured: budget.gpu_hours 1 is spent (1.00 actor hours); " in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path, SPEC)
    assert main(["generate", str(spec), "--out", "/proc/self/run"]) == 1
    assert "error: --out /proc/self/run: /proc/self cannot be written" in capsys.readouterr().err
