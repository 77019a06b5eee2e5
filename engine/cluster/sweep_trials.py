"""Running the trials of a sweep with Ray Tune."""

import logging
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from engine.errors import Stopped
from engine.evaluation.sweep import Sweep, Trial
from shards.storage.locations import cache_home

_FAILURES = 3
"""Of one trial; after each it goes on from its checkpoint."""


class SweepTrial(tune.Trainable):
    """One training is one step. Actors are used again, for importing torch takes as long as a small training."""

    def setup(self, config: dict[str, Any], sweep: Sweep) -> None:  # type: ignore[override]
        """Called once for each process."""
        import torch

        self._sweep, self._trial = sweep, Trial(**config["trial"])
        self._device = "cuda" if sweep.gpus_per_trial > 0 else "cpu"
        torch.set_num_threads(1)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called before each further trial."""
        self._trial = Trial(**new_config["trial"])
        return True

    def step(self) -> dict[str, Any]:
        """The whole training."""
        started = time.monotonic()
        quality = self._sweep.run(self._trial, self._device)
        return {"quality": quality, "seconds": time.monotonic() - started, "done": True}


class _Lines(tune.Callback):
    """One line for each finished trial."""

    def __init__(self, total: int, finished: int) -> None:
        self._total, self._finished = total, finished

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune."""
        self._finished += 1
        found = trial.last_result
        told = f"{100 * found['quality']:.1f}% on real validation"
        _say(trial, f"{told} ({found['seconds']:.0f} s; {self._finished} of {self._total})")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune."""
        _say(trial, "its process died; it goes on from its checkpoint")


def _say(trial: Any, text: str) -> None:
    which = Trial(**trial.config["trial"])
    arm = which.arm.replace("-", " ").replace("_", " ")
    print(f"{time.strftime('%H:%M:%S')} {arm:<10} seed {which.seed}: {text}", flush=True)  # noqa: T201


def run_trials(sweep: Sweep) -> None:
    """Run every trial that has no result yet; Ray must be connected. Raises what the first failing trial raised, and
    Stopped."""
    pending = sweep.pending()
    if not pending:
        return
    # Tune's own tables repaint the screen; a line per trial is what a person and a log can use.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what dies is said in a line; what fails is raised below
    resources = {"cpu": 1, "gpu": sweep.gpus_per_trial}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(SweepTrial, sweep=sweep), resources),
        param_space={"trial": tune.grid_search([asdict(trial) for trial in pending])},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(_tune_folder(sweep)),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_FAILURES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[_Lines(len(sweep.trials()), len(sweep.trials()) - len(pending))],
        ),
    )
    if errors := tuner.fit().errors:
        raise errors[0]
    if left := len(sweep.pending()):  # Tune ends quietly at Ctrl-C
        raise Stopped(f"stopped with {left} trainings to do; run the same command again to go on")


def _tune_folder(sweep: Sweep) -> Path:
    """Of what Tune keeps for itself; results are kept by the sweep."""
    folder = (sweep.store.local or cache_home()) / "sweep" / "tune"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
