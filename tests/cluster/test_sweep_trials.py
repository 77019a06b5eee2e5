"""`python -m jobs sweep` with a trial killed half-way: as if nothing had happened."""

import os
import signal
import subprocess
import time
from pathlib import Path

from engine.config.sweep_spec import SweepSpec
from engine.config.train_spec import TrainSpec
from engine.evaluation.sweep import Sweep, prepare_sweep
from tests.conftest import ROOT, command, family
from tests.engine.evaluation.sweep_runs import make_sweep_run

_DEADLINE = 240.0
SWEEP = SweepSpec(alphas=(0.5,), seeds=1, arms={"class_weights": {"balance": "class_weights"}})
TRAIN = TrainSpec(steps=60, batch_size=64, checkpoint_every=1)


def results(sweep: Sweep) -> dict[str, object]:
    """All that trials say, but for the place of the generator."""
    found = {trial.name: sweep.result(trial) for trial in sweep.trials()}
    return {name: {key: one[key] for key in one if key != "fingerprint"} for name, one in found.items() if one}


def test_a_killed_trial_goes_on_and_ends_as_it_would_have(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    (tmp_path / "calm").mkdir()
    run = make_sweep_run(tmp_path / "killed", sweep=SWEEP, train=TRAIN)
    place = Path(run.store.url)
    log = tmp_path / "log"
    with log.open("w") as file:
        line = command("sweep", place / "spec.yaml", "--out", place)
        started = subprocess.Popen(line, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _DEADLINE
        while not list((place / "sweep").glob("*.pt")):
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        trials = [one.pid for one in family(started.pid) if "ray::ResourceTrainable" in " ".join(one.cmdline())]
        os.kill(trials[0], signal.SIGKILL)
        assert started.wait(timeout=_DEADLINE) == 0, log.read_text()
    finally:
        started.kill()
    assert "its process died; it goes on from its checkpoint" in log.read_text()
    assert "Traceback" not in log.read_text()
    calm = prepare_sweep(make_sweep_run(tmp_path / "calm", sweep=SWEEP, train=TRAIN))
    for trial in calm.pending():
        calm.run(trial, "cpu")
    found = results(prepare_sweep(run))
    assert set(found) == {"alpha-0-0", "alpha-0.5-0", "oracle-0", "class_weights-0"}
    assert found == results(calm)
