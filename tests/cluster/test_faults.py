"""Killed actors, killed drivers, signals and poison: nothing finished is lost, and the bytes stay the same."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from engine.run import load_run
from tests.cluster.conftest import Driver, Generate
from tests.conftest import ROOT, Jobs, hashes, text_of

ONE_ACTOR = ("--set", "cluster.max_actors=1")
UNITS = 18


def contents(run: Path) -> dict[str, bytes]:
    """The finished shards, to see that they stay as they are."""
    done = [path.name.removesuffix("_stats.json") for path in (run / "shards").glob("*_stats.json")]
    return {path.name: path.read_bytes() for path in (run / "shards").iterdir() if path.name[:5] in done}


def assert_complete(run: Path, tiny_run: Path, jobs: Jobs) -> None:
    assert hashes(run) == hashes(tiny_run)
    verified = jobs("verify", run)  # which names every file that does not belong there
    assert verified.returncode == 0, text_of(verified)


def test_killed_actors_and_a_killed_driver(generate: Generate, jobs: Jobs, tiny_run: Path) -> None:
    first = generate(*ONE_ACTOR)
    killed: set[int] = set()
    for units in (2, 5):
        first.until(lambda: first.done() >= units and bool(first.actors() - killed))  # noqa: B023
        killed.add(first.kill_actor())
    assert len(killed) == 2, "a new actor took over"
    first.until(lambda: first.done() >= 8)
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert first.text().count("(1 of 3 attempts used)") >= 1, first.text()
    assert first.leftovers() == [], "Ray's processes die with their driver"
    before = contents(first.run)
    assert 8 * 3 <= len(before) < UNITS * 3

    second = generate(*ONE_ACTOR)
    assert second.wait() == 0, second.text()
    assert before.items() <= contents(second.run).items()
    assert_complete(second.run, tiny_run, jobs)


def test_signals_stop_and_the_same_command_goes_on(generate: Generate, jobs: Jobs, tiny_run: Path) -> None:
    terminated = generate(*ONE_ACTOR)
    terminated.until(lambda: terminated.done() >= 2)
    terminated.send(signal.SIGTERM)
    assert terminated.wait() == 128 + signal.SIGTERM
    assert "error: stopped by SIGTERM; run the same command again" in terminated.text()
    assert terminated.leftovers() == []
    before, staged = contents(terminated.run), set((terminated.run / "shards/.staging").glob("*"))
    assert 2 * 3 <= len(before) < UNITS * 3

    interrupted = generate(*ONE_ACTOR)
    interrupted.until(lambda: interrupted.done() >= len(before) // 3 + 2)
    interrupted.press_ctrl_c()
    assert interrupted.wait() == 128 + signal.SIGINT
    left = UNITS - interrupted.done()
    assert left > 0
    assert f"error: stopped with {left} units to make; run the same command again to go on" in interrupted.text()
    assert "finishing the units in flight" in interrupted.text()
    assert "Traceback" not in terminated.text() + interrupted.text()
    left_by_it = set((interrupted.run / "shards/.staging").glob("*")) - staged
    assert not left_by_it, "the unit in flight was finished"

    last = generate(*ONE_ACTOR)
    assert last.wait() == 0, last.text()
    assert before.items() <= contents(last.run).items()
    assert_complete(last.run, tiny_run, jobs)


def test_poison_units_are_put_aside_and_named(
    tiny_spec: Path, tiny_run: Path, tmp_path: Path, generate: Generate, jobs: Jobs
) -> None:
    run = tmp_path / "run"
    line = [sys.executable, "-m", "tests.cluster.poisoned", str(tiny_spec), str(run)]
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert found.returncode == 1, text_of(found)
    assert "3 of 18 units failed, the first is 00002: ValueError: no such thing as prompt" in found.stderr
    assert "run the same command again" in found.stderr
    assert "Traceback" not in text_of(found)
    aside = {path.name: json.loads(path.read_text()) for path in (run / "quarantine").glob("*.json")}
    assert {name: len(one["attempts"]) for name, one in aside.items()} == {
        "00002.json": 2,
        "00004.json": 2,
        "00006.json": 2,
    }
    assert "ValueError: no such thing as prompt" in aside["00002.json"]["attempts"][0]
    slot = load_run(run).recipe.plan.slot(2 * 7)
    assert aside["00002.json"]["slot"] == slot.key
    assert aside["00002.json"]["prompt"] == load_run(run).recipe.prompt(slot).text
    assert "prompt" not in aside["00004.json"], "nobody knows at which of its slots the process died"
    assert "TimeoutError: not finished after 12 s" in aside["00006.json"]["attempts"][1]
    finished = contents(run)
    assert len(finished) == (UNITS - 3) * 3
    verified = jobs("verify", run)
    assert verified.returncode == 1
    assert "00002_stats.json: missing, the unit is not finished" in text_of(verified)

    again: Driver = generate(*ONE_ACTOR)
    assert again.wait() == 0, again.text()
    assert not list((run / "quarantine").glob("*.json"))
    assert_complete(run, tiny_run, jobs)
