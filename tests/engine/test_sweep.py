"""What a sweep trains on and judges by, and that no split sees another."""

import json
from pathlib import Path

import pytest

from engine.errors import DataError, RunMismatch, SpecError
from engine.generators.text_to_image import TextToImageSettings
from engine.run import Run, begin_run, plan_run
from engine.runner import run_unit
from engine.spec.data import DataSpec, SplitSpec
from engine.spec.output import ImageSpec, OutputSpec
from engine.spec.plan import PlanSpec
from engine.spec.run import Spec
from engine.spec.sweep import SweepSpec
from engine.sweep import ORACLE, Sweep, Trial, check_disjoint, prepare_sweep, write_sweep
from shards import NotReal, ShardStream
from shards.finished import read_rows
from shards.store import open_store
from tests.engine.fakes import FakeGenerator

DATA = DataSpec(source="digits", splits=SplitSpec(world=0.5, train=0.1, validation=0.2, test=0.2), train_per_class=3)


def make(folder: Path, data: DataSpec | None = DATA) -> Run:
    """A finished run over the digits with drawn images; the model's folder is only looked into, never loaded."""
    source = folder / "model"
    source.mkdir()
    (source / "model_index.json").write_text("{}")
    spec = Spec(
        name="x",
        data=data,
        classes=None if data else ("a", "b"),
        plan=PlanSpec(per_class=4),
        model=TextToImageSettings(source=str(source), batch_size=4),
        output=OutputSpec(samples_per_shard=25, image=ImageSpec(size=8)),
        sweep=SweepSpec(alphas=(0.5,), seeds=2, steps=2, batch_size=8),
    )
    run = begin_run(plan_run(spec), folder / "run")
    for number in run.pending():
        run_unit(run.recipe, number, FakeGenerator(), run.shards)
    return run


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    sweep = prepare_sweep(make(tmp_path_factory.mktemp("sweep")))
    for trial in sweep.pending():
        sweep.run(trial, "cpu")
    return sweep


def test_the_arms_are_the_baseline_each_alpha_and_the_oracle(swept: Sweep) -> None:
    assert [(trial.arm, trial.seed) for trial in swept.trials()] == [
        (arm, seed) for seed in (0, 1) for arm in ("alpha-0", "alpha-0.5", ORACLE)
    ]


def test_real_splits_on_disk_are_real_disjoint_and_of_the_synthetic_size(swept: Sweep) -> None:
    counts = {}
    for split in ("world", "train", "validation", "test"):
        stream = ShardStream(swept.store.local / "real" / split, real_only=True)
        assert stream.read([0]).image.shape == (1, 8, 8, 3)
        counts[split] = len(stream)
    assert counts["train"] == 30
    assert sum(counts.values()) > 1600
    check_disjoint(swept.store / "real")


def test_sweep_json_is_what_other_peoples_scripts_rely_on(swept: Sweep) -> None:
    write_sweep(swept)
    found = json.loads((swept.store.local / "sweep.json").read_text())
    assert found["alpha_star"] in (0.0, 0.5)
    assert {(point["alpha"], point["seed"]) for point in found["points"]} == {(0.0, 0), (0.0, 1), (0.5, 0), (0.5, 1)}
    assert all(0 <= point["accuracy"] <= 1 for point in found["points"])
    baseline = [point["accuracy"] for point in found["points"] if point["alpha"] == 0]
    assert found["baseline"] == pytest.approx(sum(baseline) / 2)
    assert 0 <= found["oracle"] <= 1


def test_the_same_trial_gives_the_same_predictions(swept: Sweep) -> None:
    trial = Trial(0.5, 1)
    before = swept.result(trial)
    swept.run(trial, "cpu")
    assert swept.result(trial) == before
    assert swept.result(Trial(0.5, 0)) != before


def test_finished_trials_are_not_repeated_and_other_settings_are(swept: Sweep) -> None:
    assert swept.pending() == []
    longer = Sweep(swept.store, swept.classes, swept.settings, 0.0, "another fingerprint")
    assert longer.pending() == longer.trials()
    with pytest.raises(RunMismatch, match="6 trials have no result"):
        write_sweep(longer)


def test_a_synthetic_sample_in_validation_is_an_error(swept: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "real").mkdir(parents=True)
    for split in ("world", "train", "test"):
        (folder / "real" / split).symlink_to(swept.store.local / "real" / split)
    (folder / "real" / "validation").symlink_to(swept.store.local / "shards")
    (folder / "shards").symlink_to(swept.store.local / "shards")
    poisoned = Sweep(open_store(folder), swept.classes, swept.settings, 0.0, "")
    with pytest.raises(NotReal, match="validation and test must be real"):
        poisoned.run(Trial(0.0, 0), "cpu")


def test_an_image_that_stands_in_two_splits_on_disk_is_named(swept: Sweep, tmp_path: Path) -> None:
    for split, source in (("train", "train"), ("validation", "train")):
        (tmp_path / split).symlink_to(swept.store.local / "real" / source)
    with pytest.raises(DataError, match=r"digits\[\d+\] is in train and in validation"):
        check_disjoint(open_store(tmp_path))


def test_images_that_the_generator_learned_from_may_not_judge_it(tmp_path: Path) -> None:
    run = make(tmp_path)
    prepare_sweep(run)
    learned = read_rows(run.store / "real" / "world", ["digest"])
    judged = read_rows(run.store / "real" / "validation", ["digest", "origin"])
    digests = tmp_path / "model" / "world_digests.txt"
    digests.write_text("\n".join(row["digest"] for row in learned))
    prepare_sweep(run)
    digests.write_text("\n".join(row["digest"] for row in (*learned, judged[7])))
    with pytest.raises(DataError, match=r"of the validation split is one of the images that .* was trained on"):
        prepare_sweep(run)


def test_a_run_without_real_data_cannot_be_swept(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="data: a sweep compares with real images"):
        prepare_sweep(make(tmp_path, data=None))


def test_an_unfinished_run_cannot_be_swept(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.shards.remove("00000_stats.json")
    with pytest.raises(SpecError, match="1 units are not finished; run generate"):
        prepare_sweep(run)
