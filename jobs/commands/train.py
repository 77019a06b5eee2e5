"""The commands that train on a run: one network, or all arms of a sweep."""

import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.arguments import AddCommand, spec_and_run_arguments
from jobs.printing import print_text
from jobs.progress import print_progress

if TYPE_CHECKING:
    from engine.training.classifier.classifier_job import ClassifierJob
    from engine.training.classifier.metrics import Scores
    from engine.training.classifier.train_result import TrainResult


def register(command: AddCommand) -> None:
    """Add the commands."""
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
    from engine.config.spec_file import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)

    from engine.workflows.trained_runs import open_for_training
    from engine.workflows.trained_runs import sweep as run_sweep

    run_sweep(open_for_training(spec, arguments.out), print_text, print_progress)


def train(arguments: Namespace) -> None:
    """Train as the spec's `train` section says, into RUN/train/NAME."""
    from engine.config.spec_file import load_spec

    spec = load_spec(arguments.spec, arguments.overrides)

    from engine.workflows.trained_runs import open_for_training
    from engine.workflows.trained_runs import train as run_training

    run = open_for_training(spec, arguments.out)
    job, predictions = run_training(run, arguments.photos, print_text, print_progress, progress)
    if predictions is not None:
        _print_photos(predictions)
    result = job.result()
    assert result is not None, "the training is finished"
    print_text(summary(job, result))


def progress(row: dict[str, Any], step: int, steps: int) -> None:
    """Print a line for each evaluation and checkpoint."""
    line = f"{time.strftime('%H:%M:%S')} step {step:,} of {steps:,}: loss {row['loss']:.4f}"
    accuracy, iou = row.get("validation_accuracy"), row.get("validation_mean_iou")
    if iou is not None:
        line = f"{line}, mean IoU {iou:.3f} on real validation"
    elif accuracy is not None:
        line = f"{line}, {100 * accuracy:.1f}% right on real validation"
    print(line, flush=True)


def summary(job: "ClassifierJob", result: "TrainResult") -> str:
    """Return the scores in one line."""
    validation = f"{_scores_text(result.validation)} of real validation, loss {result.validation.loss:.3f}"
    test = "" if result.test is None else f"; {_scores_text(result.test)} of test"
    return f"{result.name}: {validation}{test}; files: {job.store}"


def _scores_text(scores: "Scores") -> str:
    accuracy = f"{100 * scores.accuracy:.1f}%"
    if scores.mean_iou is not None:
        return f"mean IoU {scores.mean_iou:.3f} and {accuracy} of pixels right"
    return f"{accuracy} right (macro F1 {scores.macro_f1:.3f}, calibration error {scores.calibration_error:.3f})"


def _print_photos(predictions: dict[str, Any]) -> None:
    photos, accuracy = predictions["photos"], predictions["accuracy"]
    for photo in photos:
        before, after = (
            f"{photo[when]['predicted']} ({photo[when]['confidence']:.0%})" for when in ("before", "after")
        )
        truth = "" if photo["truth"] is None else f", is {photo['truth']}"
        print_text(f"{photo['photo']}{truth}: {before} before, {after} after")
    if accuracy["after"] is not None:
        print(f"{len(photos)} photos: {accuracy['before']:.0%} right before, {accuracy['after']:.0%} after")
