"""Running the trials of a sweep with Ray Tune."""

import logging
import os
import time
from dataclasses import asdict
from typing import Any

from ray import tune

from engine.errors import Stopped
from engine.evaluation.sweep import Sweep, Trial
from shards.storage.locations import cache_home

_MAX_FAILURES = 3  # of one trial; after each one it resumes from its checkpoint


class SweepTrial(tune.Trainable):
    """A trial whose only step is the whole training."""

    def setup(self, config: dict[str, Any], sweep: Sweep) -> None:  # type: ignore[override]
        """Prepare the process for its first trial."""
        import torch

        self._sweep, self._trial = sweep, Trial(**config["trial"])
        self._device = "cuda" if sweep.gpus_per_trial > 0 else "cpu"
        torch.set_num_threads(1)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare the process for another trial."""
        self._trial = Trial(**new_config["trial"])
        return True

    def step(self) -> dict[str, Any]:
        """Train, and return the quality and the seconds."""
        started = time.monotonic()
        quality = self._sweep.run(self._trial, self._device)
        return {"quality": quality, "seconds": time.monotonic() - started, "done": True}


class _TrialLog(tune.Callback):
    """A log with one line for each finished trial."""

    def __init__(self, total: int, finished: int) -> None:
        self._total, self._finished = total, finished

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log the result of a trial."""
        self._finished += 1
        quality, seconds = trial.last_result["quality"], trial.last_result["seconds"]
        text = f"{100 * quality:.1f}% on real validation ({seconds:.0f} s; {self._finished} of {self._total})"
        _print_line(trial, text)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log that a trial resumes."""
        _print_line(trial, "its process died; it resumes from its checkpoint")


def _print_line(ray_trial: Any, text: str) -> None:
    trial = Trial(**ray_trial.config["trial"])
    arm = trial.arm.replace("-", " ").replace("_", " ")
    print(f"{time.strftime('%H:%M:%S')} {arm:<10} seed {trial.seed}: {text}", flush=True)  # noqa: T201


def run_trials(sweep: Sweep) -> None:
    """Run every trial that has no result yet. Ray must be connected. Raises the error of a trial, and Stopped."""
    pending = sweep.pending()
    if not pending:
        return
    # Tune's own tables repaint the screen. A line for each trial serves people and logs.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a death has a line of ours; an exception is raised below
    folder = (sweep.store.local or cache_home()) / "sweep" / "tune"  # of Tune's own files; the sweep stores the results
    folder.mkdir(parents=True, exist_ok=True)
    resources = {"cpu": 1, "gpu": sweep.gpus_per_trial}
    total = len(sweep.trials())
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(SweepTrial, sweep=sweep), resources),
        param_space={"trial": tune.grid_search([asdict(trial) for trial in pending])},
        tune_config=tune.TuneConfig(reuse_actors=True),  # importing torch takes as long as a small training
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_TrialLog(total, total - len(pending))],
        ),
    )
    if errors := tuner.fit().errors:
        raise errors[0]
    if unfinished := len(sweep.pending()):  # at Ctrl-C, Tune returns without an error
        raise Stopped(f"stopped with {unfinished} trainings left; run the same command again to resume")
