"""`python -m jobs sweep` gives the same results when a trial is killed half-way."""

from pathlib import Path

import pytest

from engine.config.spec import SweepSpec
from engine.config.train_spec import TrainSpec
from engine.evaluation.sweep import Sweep, prepare_sweep
from tests.conftest import kill_once, run_here, text_of
from tests.engine.evaluation.sweep_runs import make_sweep_run

SWEEP = SweepSpec(alphas=(0.5,), seeds=1)
TRAIN = TrainSpec(steps=30, batch_size=64, checkpoint_every=1)


def results(sweep: Sweep) -> dict[str, object]:
    """Return the result of every finished trial, without the fingerprint of its files."""
    results = {trial.name: sweep.result(trial) for trial in sweep.trials()}
    return {name: result.model_dump(exclude={"fingerprint"}) for name, result in results.items() if result}


@pytest.mark.usefixtures("shared_ray")
def test_killed_trial_resumes_and_ends_as_undisturbed(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    (tmp_path / "calm").mkdir()
    run = make_sweep_run(tmp_path / "killed", sweep=SWEEP, train=TRAIN)
    folder = Path(run.store.url)
    with kill_once(lambda: any((folder / "sweep").glob("*.pt")), "ray::ResourceTrainable"):
        done = run_here("sweep", folder / "spec.yaml", "--out", folder)
    assert done.returncode == 0, text_of(done)
    assert "its process died; it resumes from its checkpoint" in text_of(done)
    assert "Traceback" not in text_of(done)
    calm = prepare_sweep(make_sweep_run(tmp_path / "calm", sweep=SWEEP, train=TRAIN))
    for trial in calm.pending():
        calm.run(trial, "cpu")
    trained = results(prepare_sweep(run))
    assert set(trained) == {"alpha-0-0", "alpha-0.5-0", "oracle-0"}
    assert trained == results(calm)
