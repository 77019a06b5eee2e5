"""The jobs `train` and `sweep`: training on a finished run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config.spec import Spec
from engine.evaluation.comparison import write_sweep
from engine.evaluation.near_copies import near_copies_of
from engine.evaluation.neighbours import Progress
from engine.evaluation.sweep import prepare_sweep
from engine.evaluation.sweep_result import NearCopy
from engine.report.verdict_text import near_copy_text, verdict
from engine.report.write_report import write_report
from engine.run.leakage import prepare_real
from engine.run.run import Run, begin_run, load_run, pin_spec, plan_run
from engine.training.classifier.classifier_job import ClassifierJob, open_job
from engine.training.classifier.history import Row
from engine.training.classifier.holdout import compare_predictions, list_photos

_SHOWN_COPIES = 10

Say = Callable[[str], None]
"""Shows a line to the user, at once."""


def open_for_training(spec: Spec, place: str) -> Run:
    """Open the run at `place` with the `train` and `sweep` sections of `spec`.

    Raises SpecError where there is no run, RunMismatch where it was begun with another spec.
    """
    store = load_run(place).store
    return begin_run(plan_run(pin_spec(spec, store), store), store)


def sweep(run: Run, say: Say, progress: Progress) -> None:
    """Train every arm at every seed, write sweep.json and the report, and show the answer."""
    from engine.cluster.ray_session import ray_session
    from engine.cluster.sweep_trials import run_trials

    prepared = prepare_sweep(run)
    near_copies = _near_copies(run, say, progress)
    with ray_session(run.context.spec.cluster):
        run_trials(prepared)
    say(verdict(write_sweep(prepared, near_copies)))
    say(f"report: {write_report(run)}")


def train(
    run: Run, photos: Path | None, say: Say, progress: Progress, on_row: Callable[[Row, int, int], None]
) -> tuple[ClassifierJob, dict[str, Any] | None]:
    """Train as the spec's `train` section says, into RUN/train/NAME; resume a training that was interrupted.

    photos: folder of the user's own images, which are classified before and after the training.
    on_row: is called with each row of the history, its step and the number of steps.
    Returns the training and, if there are photos, their predictions, which are in its photos.json too.
    """
    spec = run.context.spec
    prepare_real(run, ("train", "validation"))
    job = open_job(run, spec.train)
    job.begin()
    images = [] if photos is None else list_photos(photos, job)
    if job.result() is None:
        _near_copies(run, say, progress)

        from engine.cluster.distributed_training import train_on_ray

        train_on_ray(job, spec.cluster, on_row)
    else:
        say(f"{job.store} holds this training already")
    if not images:
        return job, None
    predictions = compare_predictions(job, images)
    job.store.replace("photos.json", f"{json.dumps(predictions, indent=1, ensure_ascii=False)}\n".encode())
    return job, predictions


def _near_copies(run: Run, say: Say, progress: Progress) -> list[NearCopy]:
    """Show validation and test images that look like training images, before anything is trained."""
    copies = near_copies_of(run, progress)
    for copy in copies[:_SHOWN_COPIES]:
        say(f"look alike: {near_copy_text(copy)}")
    if copies:
        say(f"{len(copies)} validation and test images look like ones that are trained on; all count as they are")
    return copies
