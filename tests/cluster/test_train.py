"""`python -m jobs train` with two workers, one of which is killed, gives the result of one process."""

import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from engine.config.spec_file import load_spec
from engine.run.run import load_run
from engine.training.classifier.classifier_job import ClassifierJob, open_job
from engine.training.classifier.train_worker import TrainWorker
from jobs.__main__ import main
from shards.codec import encode_rgb
from shards.storage.open_store import open_store
from tests.conftest import kill_once, run_here, start_ray, text_of
from tests.engine.evaluation.sweep_runs import make_sweep_run

SETTINGS = {
    "steps": 32,
    "batch_size": 64,
    "alpha": 0.5,
    "checkpoint_every": 4,
    "evaluate_every": 8,
    "learning_rate": 1e-3,
    "augment": "{horizontal_flip: 0.5, noise: {strength: 4}}",
}


def arguments(run: Path, **settings: object) -> list[str]:
    section = {**SETTINGS, **settings}
    return ["train", str(run / "spec.yaml"), "--out", str(run), *(f"--set=train.{k}={v}" for k, v in section.items())]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_sweep_run(tmp_path_factory.mktemp("train")).store.url)


@pytest.fixture(scope="module")
def output(run: Path) -> str:
    """Return the output of the command whose second worker was killed after the first checkpoint."""
    start_ray()
    checkpoint = run / "train/classifier/checkpoint.pt"
    with warnings.catch_warnings(), kill_once(checkpoint.exists, "ray::RayTrainWorker"):
        warnings.simplefilter("ignore")  # Ray Train warns of its own deprecations
        done = run_here(*arguments(run, workers=2))
    assert done.returncode == 0, text_of(done)
    return done.stdout


def test_two_workers_one_of_them_killed_train_as_one_process(run: Path, output: str, tmp_path: Path) -> None:
    metrics = pq.read_table(run / "train/classifier/metrics.parquet").to_pydict()
    spec = load_spec(run / "spec.yaml", [f"train.{name}={value}" for name, value in SETTINGS.items()])
    job = open_job(load_run(run), spec.train)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = ClassifierJob(job.spec, job.data, open_store(tmp_path)).run(TrainWorker())
    torch.set_num_threads(threads)
    assert metrics["loss"] == pytest.approx([row["loss"] for row in alone.rows], rel=5e-3)
    assert metrics["step"] == list(range(1, 33))
    predictions = pq.read_table(
        run / "train/classifier/predictions.parquet", filters=[("split", "=", "validation")]
    ).to_pydict()
    expected = alone.predictions["validation"]
    assert predictions["key"] == list(alone.keys["validation"])
    assert predictions["label"] == expected.label.tolist()
    assert np.mean(predictions["predicted"] == expected.predicted) > 0.97
    assert metrics["validation_accuracy"][-1] == pytest.approx(alone.scores["validation"].accuracy, abs=0.01)


def test_it_says_how_far_it_is_and_what_came_out(run: Path, output: str) -> None:
    assert re.search(r"step 8 of 32: loss \d\.\d{4}, \d+\.\d% right on real validation", output)
    assert re.search(r"classifier: \d+\.\d% right \(macro F1 0\.\d+, calibration error 0\.\d+\) of real valid", output)
    names = {path.name for path in (run / "train/classifier").iterdir()}
    assert names >= {"model.safetensors", "metrics.parquet", "result.json", "events"}
    assert not any(name.startswith(("ray-", "checkpoint")) for name in names)
    assert len(list((run / "train/classifier/events").iterdir())) == 2, "one of the killed process, one of the next"


def test_the_same_command_again_is_done_and_judges_photos(
    run: Path, output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.png").write_bytes(encode_rgb(np.full((20, 20, 3), 99, np.uint8), "png"))
    assert main([*arguments(run, workers=2), "--photos", str(tmp_path)]) == 0
    again = capsys.readouterr().out
    assert "holds this training already" in again
    assert re.search(r"mine\.png: \w+ \(\d+%\) before, \w+ \(\d+%\) after", again)
    assert again.splitlines()[-1] == output.splitlines()[-1]
    assert main(arguments(run, alpha=0.25)) == 2
    assert "alpha: 0.5 -> 0.25" in capsys.readouterr().err
