"""Sweeps: the training data of each arm, the evaluation splits, and the result."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config.spec import ORACLE, PlanSpec, Spec, SweepSpec
from engine.config.train_spec import TrainSpec
from engine.errors import DataError, RunMismatch, SpecError
from engine.evaluation.comparison import write_sweep
from engine.evaluation.near_copies import near_copies_of
from engine.evaluation.sweep import Sweep, Trial, arms_of, prepare_sweep
from engine.evaluation.sweep_result import SweepResult
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.run.leakage import check_disjoint
from engine.training.classifier.history import Row
from engine.training.classifier.training_data import TrainData, real_and_synthetic
from shards import NotReal, ShardStream
from shards.storage.manifest import read_rows
from shards.storage.open_store import open_store
from tests.engine.evaluation.sweep_runs import make_sweep_run, swept

__all__ = ["swept"]


def test_arms_are_each_alpha_the_oracle_and_the_alternatives(swept: Sweep) -> None:
    assert [(trial.arm, trial.seed) for trial in swept.trials()] == [
        (arm, seed) for seed in (0, 1) for arm in ("alpha-0", "alpha-0.5", ORACLE, "oversampling")
    ]
    *_, alternative = swept.arms
    assert (alternative.train.alpha, alternative.train.balance, alternative.train.steps) == (0.0, "oversample", 4)


def test_real_splits_are_disjoint_and_of_the_synthetic_size(swept: Sweep) -> None:
    counts = {}
    for split in ("world", "train", "validation", "test"):
        stream = ShardStream(swept.store.local / "real" / split, real_only=True)
        assert stream.read([0]).image.shape == (1, 8, 8, 3)
        counts[split] = len(stream)
    assert counts["train"] == 30
    assert sum(counts.values()) > 1600
    check_disjoint(swept.store / "real")


def test_sweep_json_holds_every_arm_with_its_numbers(swept: Sweep) -> None:
    result = write_sweep(swept, [])
    assert SweepResult.read(swept.store) == result
    assert result.alpha_star in (0.0, 0.5)
    assert list(result.by_alpha) == [0.0, 0.5]
    (alternative,) = result.alternatives
    assert (alternative.name, alternative.changes) == ("oversampling", {"balance": "oversample"})
    assert (result.metric, len(result.classes), result.seeds, result.train.steps) == ("accuracy", 10, 2, 4)
    assert list(result.by_name) == ["alpha-0", "alpha-0.5", "oversampling", "oracle"]
    for arm in result.by_name.values():
        confusion = np.array(arm.confusion)
        assert confusion.sum() == 2 * result.real_images["validation"]
        assert np.trace(confusion) / confusion.sum() == pytest.approx(arm.quality.mean)
        assert arm.quality.mean == pytest.approx(np.mean(arm.quality_per_seed))
        assert arm.macro_f1 is not None
        assert arm.macro_f1.low <= arm.macro_f1.mean <= arm.macro_f1.high


def test_the_same_sweep_twice_gives_the_same_table(swept: Sweep) -> None:
    write_sweep(swept, [])
    before = swept.store.read("sweep.json")
    for trial in swept.trials():
        swept.run(trial, "cpu")
    write_sweep(swept, [])
    assert swept.store.read("sweep.json") == before
    assert swept.result(Trial("alpha-0.5", 1)) != swept.result(Trial("alpha-0.5", 0))


def test_a_stopped_trial_resumes_to_the_same_result(swept: Sweep) -> None:
    trial = Trial("alpha-0.5", 0)
    before = swept.result(trial)

    def stop(rows: list[Row], step: int, steps: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept.run(trial, "cpu", stop)
    steps: list[int] = []
    swept.run(trial, "cpu", lambda rows, step, of: steps.append(step))
    assert steps == [3, 4], "the checkpoint holds two steps, and the third is repeated"
    assert swept.result(trial) == before
    assert not list((swept.store.local / "sweep").glob("*.pt"))


def test_finished_trials_are_not_repeated_and_others_are(swept: Sweep) -> None:
    assert swept.pending() == []
    other = Sweep(swept.store, swept.classes, swept.arms, swept.seeds, 0.0, "other images")
    assert other.pending() == other.trials()
    with pytest.raises(RunMismatch, match="8 trials have no result"):
        write_sweep(other, [])


@pytest.mark.parametrize(("alpha", "real", "synthetic"), [(0.0, 30, 0), (0.3, 21, 9), (0.5, 15, 15), (1.0, 30, 30)])
def test_with_the_total_fixed_each_alpha_has_fewer_real_images(
    swept: Sweep, alpha: float, real: int, synthetic: int
) -> None:
    place = swept.store / "real"
    data = TrainData((place / "train").url, (swept.store / "shards").url, (place / "test").url, None, swept.classes)
    sides = real_and_synthetic(data.mix(TrainSpec(alpha=alpha, total=30), 1))
    counts = [np.bincount(side.label[side.rows], minlength=10) for side in sides if side is not None]
    assert [count.sum() for count in counts] == [real, *([synthetic] if synthetic else [])]
    assert all(count.max() - count.min() <= 1 for count in counts), "every class gets its share"


def test_too_few_images_for_a_fixed_total_are_an_error(swept: Sweep) -> None:
    place = swept.store / "real"
    data = TrainData((place / "train").url, (swept.store / "shards").url, (place / "test").url, None, swept.classes)
    with pytest.raises(SpecError, match=r"takes 54 images of .*shards, which holds 40; lower it"):
        data.mix(TrainSpec(alpha=0.9, total=60), 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 9}, "sweep.arms.x.steps is the same for every arm"),
        ({"balanse": "oversample"}, "sweep.arms.x.balanse: Extra inputs are not permitted"),
        ({"augment": {"hue": {"strength": 3}}}, r"sweep.arms.x.augment: hue.strength 3 is more than 0.5"),
    ],
)
def test_an_arm_that_cannot_be_trained_is_refused_with_the_spec(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Spec(
            name="x",
            classes=("a",),
            plan=PlanSpec(per_class=4),
            model=TextToImageSettings(source="x/y", batch_size=4),
            sweep=SweepSpec(arms={"x": changes}),
        )


def test_a_sweep_needs_equal_steps(tmp_path: Path) -> None:
    run = make_sweep_run(tmp_path, train=TrainSpec(epochs=2))
    with pytest.raises(SpecError, match=r"train\.epochs: a sweep gives every arm the same number of steps"):
        arms_of(run.context.spec, 30)


def test_near_copies_of_a_run_are_found_in_all_splits(tmp_path: Path) -> None:
    run = make_sweep_run(tmp_path)
    prepare_sweep(run)
    assert near_copies_of(run) == []
    (tmp_path / "run/real/world").rename(tmp_path / "gone")
    (tmp_path / "run/real/world").symlink_to(tmp_path / "run/real/test")
    assert {copy.held_out for copy in near_copies_of(run)} >= {copy.train for copy in near_copies_of(run)}


def test_a_synthetic_sample_in_validation_is_an_error(swept: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "real").mkdir(parents=True)
    for split in ("world", "train", "test"):
        (folder / "real" / split).symlink_to(swept.store.local / "real" / split)
    (folder / "real" / "validation").symlink_to(swept.store.local / "shards")
    (folder / "shards").symlink_to(swept.store.local / "shards")
    poisoned = Sweep(open_store(folder), swept.classes, swept.arms, 1, 0.0, "")
    with pytest.raises(NotReal, match="validation and test must be real"):
        poisoned.run(Trial("alpha-0", 0), "cpu")


def test_an_image_that_stands_in_two_splits_on_disk_is_named(swept: Sweep, tmp_path: Path) -> None:
    for split, source in (("train", "train"), ("validation", "train")):
        (tmp_path / split).symlink_to(swept.store.local / "real" / source)
    with pytest.raises(DataError, match=r"digits\[\d+\] is in train and in validation"):
        check_disjoint(open_store(tmp_path))


def test_images_that_the_generator_learned_from_may_not_judge_it(tmp_path: Path) -> None:
    run = make_sweep_run(tmp_path)
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
    with pytest.raises(SpecError, match="has no data"):
        prepare_sweep(make_sweep_run(tmp_path, data=None))


def test_an_unfinished_run_cannot_be_swept(tmp_path: Path) -> None:
    run = make_sweep_run(tmp_path)
    run.shards.remove("00000_stats.json")
    with pytest.raises(SpecError, match="1 units are not finished; run generate"):
        prepare_sweep(run)
