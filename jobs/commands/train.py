"""Training on a run: one network, or all that are compared."""

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.arguments import AddCommand, spec_and_run_arguments
from jobs.commands.runs import write_report
from jobs.printing import say

if TYPE_CHECKING:
    from engine.data import RealImage
    from engine.evaluation.near_duplicates import Leak
    from engine.run.run import Run
    from engine.training.classifier.classifier_job import Job

_NAMED = 10


def register(command: AddCommand) -> None:
    """The commands of this file."""
    compare = command(
        "sweep",
        sweep,
        "Train at each alpha and seed on a finished run, and the alternatives; report on real validation.",
        "sweep jobs/specs/digits.yaml --out runs/digits --set sweep.seeds=5",
    )
    spec_and_run_arguments(compare)

    trainer = command(
        "train",
        train,
        "Train a classifier on a run's real and synthetic images; the same command again resumes.",
        "train jobs/specs/digits.yaml --out runs/digits --set train.model=resnet18 --set train.alpha=0.5",
    )
    spec_and_run_arguments(trainer)
    trainer.add_argument(
        "--photos",
        metavar="DIR",
        type=Path,
        help="photos of your own, in a folder per class or in one, to be judged before and after the training",
    )


def sweep(arguments: Namespace) -> None:
    """Train every arm at every seed, write sweep.json and the report."""
    run = _begun(arguments)

    from engine.cluster.ray_session import ray_session
    from engine.cluster.sweep_trials import run_trials
    from engine.evaluation.comparison import write_sweep
    from engine.evaluation.sweep import prepare_sweep

    prepared = prepare_sweep(run)
    leaks = _leaks(run)
    with ray_session(run.recipe.spec.cluster):
        run_trials(prepared)
    say(write_sweep(prepared, leaks))
    write_report(run)


def train(arguments: Namespace) -> None:
    """Train as the spec's `train` section says, into RUN/train/NAME."""
    run = _begun(arguments)

    from engine.run.leakage import prepare_real
    from engine.training.classifier.classifier_job import job_of
    from engine.training.classifier.holdout import find_photos

    spec = run.recipe.spec
    prepare_real(run, ("train", "validation"))
    job = job_of(run, spec.train)
    job.begin()
    photos = [] if arguments.photos is None else find_photos(arguments.photos, job)
    result = job.result()
    if result is None:
        _leaks(run)

        from engine.cluster.distributed_training import train_on_ray

        train_on_ray(job, spec.cluster, progress)
        result = job.result()
    else:
        print(f"{job.store} holds this training already")
    assert result is not None
    if photos:
        _show(job, photos)
    say(summary(job, result))


def _begun(arguments: Namespace) -> "Run":
    """The run that is trained on: a training begins none."""
    from engine.config.spec_file import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)

    from engine.run.run import begin_run, load_run, pinned, plan_run

    store = load_run(arguments.out).store
    return begin_run(plan_run(pinned(spec, store), store), store)


def _leaks(run: "Run") -> "list[Leak]":
    """Held-out images that look like what is trained on, which are said before anything is trained."""
    from engine.evaluation.near_duplicates import leaks_of
    from jobs.progress import shown

    found = leaks_of(run, shown)
    for leak in found[:_NAMED]:
        say(f"look alike: {leak.text}")
    if found:
        print(f"{len(found)} validation and test images look like ones that are trained on; all count as they are")
    return found


def progress(row: dict[str, Any], step: int, steps: int) -> None:
    """A line for each evaluation and checkpoint."""
    told = f"{time.strftime('%H:%M:%S')} step {step:,} of {steps:,}: loss {row['loss']:.4f}"
    accuracy, iou = row.get("validation_accuracy"), row.get("validation_mean_iou")
    if iou is not None:
        told = f"{told}, mean IoU {iou:.3f} on real validation"
    elif accuracy is not None:
        told = f"{told}, {100 * accuracy:.1f}% right on real validation"
    print(told, flush=True)


def summary(job: "Job", result: dict[str, Any]) -> str:
    """How good it is, in one line."""
    found = result["validation"]
    test = f"; {_told(result['test'])} of test" if "test" in result else ""
    return f"{result['name']}: {_told(found)} of real validation, loss {found['loss']:.3f}{test}; files: {job.store}"


def _told(scores: dict[str, Any]) -> str:
    if scores["mean_iou"] is not None:
        return f"mean IoU {scores['mean_iou']:.3f} and {100 * scores['accuracy']:.1f}% of pixels right"
    f1, error = scores["macro_f1"], scores["calibration_error"]
    return f"{100 * scores['accuracy']:.1f}% right (macro F1 {f1:.3f}, calibration error {error:.3f})"


def _show(job: "Job", photos: list["RealImage"]) -> None:
    from engine.training.classifier.holdout import before_and_after

    found = before_and_after(job, photos)
    job.store.replace("photos.json", f"{json.dumps(found, indent=1, ensure_ascii=False)}\n".encode())
    for one in found["photos"]:
        before, after = (f"{one[when]['predicted']} ({one[when]['confidence']:.0%})" for when in ("before", "after"))
        truth = "" if one["truth"] is None else f", is {one['truth']}"
        say(f"{one['photo']}{truth}: {before} before, {after} after")
    if found["accuracy"]["after"] is not None:
        before, after = (f"{found['accuracy'][when]:.0%}" for when in ("before", "after"))
        print(f"{len(photos)} photos: {before} right before, {after} after")
