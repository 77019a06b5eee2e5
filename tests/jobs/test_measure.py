"""`measure` on a run whose generator is known to be good, to copy, to mix classes up and to make noise."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from engine.config.data_spec import SourceSettings, SplitSpec
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.config.prompts_spec import PromptsSpec, Strategy
from engine.config.spec import PlanSpec, Spec
from engine.config.train_spec import TrainSpec
from engine.data.open_source import open_source
from engine.data.splits import load_splits
from engine.evaluation.measure_result import ALL_CLASSES, REAL, MeasureResult, MeasureRow
from engine.generators.generator import Request
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.run.run import Run, begin_run, plan_run
from engine.worker.runner import run_unit
from jobs.__main__ import main
from shards.codec import Pixels, decode_rgb, encode_rgb, fit_rgb
from tests.engine.fakes import FakeGenerator
from tests.specs import data_spec

SIZE, EACH = 16, 12
# Train keeps three images of each class, so most real images are in no split: a generator that draws them is ideal.
DATA = data_spec(
    source="digits", splits=SplitSpec(world=0.35, train=0.4, validation=0.25, test=0), train_per_class=3
)  # fmt: skip
STRATEGIES = ("good", "copied", "wrong", "noise")


class KnownGenerator(FakeGenerator):
    """good: real images that no split has; copied: those of train, paler and mirrored by turns; wrong: good ones of the
    next class; noise."""

    def __init__(self, data: SourceSettings) -> None:
        super().__init__(batch_size=8, size=SIZE)
        splits = load_splits(data)
        used = {image.digest for split in (splits.world, splits.train, splits.validation) for image in split}
        unseen = [image for image in open_source(data).images if image.digest not in used]
        self._unseen, self._train = (self._by_class(images) for images in (unseen, splits.train))

    @staticmethod
    def _by_class(images: Sequence[Any]) -> list[list[Pixels]]:
        return [
            [fit_rgb(image.pixels(), SIZE, SIZE) for image in images if image.label == label] for label in range(10)
        ]

    def _draw(self, request: Request) -> Pixels:
        strategy, label, seed = request.prompt.strategy, request.label, request.seed
        if strategy == "noise":
            return super()._draw(request)
        if strategy == "copied":
            paler = (self._train[label][seed % 3] * 0.8 + 25).astype(np.uint8)
            image = decode_rgb(encode_rgb(paler, "jpg", 90))
            return image if seed % 2 else np.ascontiguousarray(image[:, ::-1])
        shown = self._unseen[(label + (strategy == "wrong")) % 10]
        return shown[seed % len(shown)]


def make(folder: Path, data: SourceSettings | None, strategies: Sequence[str] = STRATEGIES, each: int = EACH) -> Run:
    source = folder / "model"
    source.mkdir(parents=True)
    (source / "model_index.json").write_text("{}")
    mix = tuple(Strategy(name=name, templates=("a {class}",)) for name in strategies)
    spec = Spec(
        name="known",
        data=data,
        classes=None if data else ("a", "b"),
        plan=PlanSpec(per_class=each * len(strategies)),
        prompts=PromptsSpec(mix=mix),
        model=TextToImageSettings(source=str(source), batch_size=8),
        output=OutputSpec(samples_per_shard=200, image=ImageSpec(size=SIZE)),
        train=TrainSpec(steps=80, batch_size=32),
    )
    run = begin_run(plan_run(spec), folder / "run")
    generator = KnownGenerator(data) if data else FakeGenerator(batch_size=8, size=SIZE)
    for number in run.pending():
        run_unit(run.context, number, generator, run.shards)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make(tmp_path_factory.mktemp("known"), DATA)


@pytest.fixture(scope="module")
def result(run: Run) -> MeasureResult:
    """Return the content of measures.json."""
    return measured(run)


def measured(run: Run, *options: str) -> MeasureResult:
    assert main(["measure", str(run.store), *options]) == 0
    result = MeasureResult.read(run.store)
    assert result is not None
    return result


def row(result: MeasureResult, strategy: str, class_name: str = ALL_CLASSES) -> MeasureRow:
    (row,) = (row for row in result.rows if (row.strategy, row.class_name) == (strategy, class_name))
    return row


def value(result: MeasureResult, strategy: str, name: str) -> float:
    number = row(result, strategy).values[name]
    assert number is not None
    return number


def test_there_is_a_row_for_each_strategy_and_class(result: MeasureResult) -> None:
    groups = [*STRATEGIES, REAL]
    assert {row.strategy for row in result.rows} == set(groups)
    assert len(result.rows) == 11 * len(groups)
    for name in STRATEGIES:
        assert (row(result, name).images, row(result, name).compared) == (10 * EACH, 10 * EACH)
    assert row(result, REAL, "two").compared == EACH
    assert (result.reference.split, result.reference.images) == ("validation", row(result, "good").real)
    assert result.encoder.name == "offline"
    assert "real world split" in result.encoder.description
    titles = [column.title for column in result.columns]
    assert titles[:3] == ["FD (offline)", "KD (offline)", "precision"]
    assert titles[3:] == ["recall", "density", "coverage", "margin", "outliers", "copies"]


def test_good_images_are_nearer_than_wrong_ones_and_noise(result: MeasureResult) -> None:
    for near in ("good", REAL):
        for far in ("wrong", "noise"):
            assert value(result, near, "kd") + 5 * value(result, near, "kd_standard_error") < value(result, far, "kd")
    for measure in ("precision", "recall", "density", "coverage"):
        good, wrong, noise = (value(result, name, measure) for name in ("good", "wrong", "noise"))
        assert good > 2 * wrong >= 2 * noise


def test_copies_cover_less_than_as_many_different_images(result: MeasureResult) -> None:
    assert value(result, "copied", "recall") < value(result, "good", "recall")


def test_fd_is_given_where_images_outnumber_dimensions(result: MeasureResult) -> None:
    assert all(row(result, name).values["fd"] is None for name in STRATEGIES), "120 images, 128 dimensions"


def test_images_of_another_class_are_the_outliers(result: MeasureResult) -> None:
    assert value(result, "wrong", "outliers") > 0.9 * row(result, "wrong").images
    assert value(result, "good", "outliers") < 0.1 * row(result, "good").images
    assert value(result, "good", "margin") > 0 > value(result, "wrong", "margin")
    margins = [image.margin for image in result.outliers]
    assert margins == sorted(margins)
    assert len(margins) > 100
    digits = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    shifted = [image for image in result.outliers if image.strategy == "wrong"]
    right = [image for image in shifted if image.resembles == digits[(digits.index(image.class_name) + 1) % 10]]
    assert len(right) > 0.8 * len(shifted) > 80


def test_copies_are_named_with_the_image_that_they_copy(result: MeasureResult) -> None:
    assert value(result, "copied", "copies") == row(result, "copied").images == result.copies.count
    assert [value(result, name, "copies") for name in ("good", "wrong", "noise")] == [0, 0, 0]
    assert row(result, REAL).values["copies"] is None
    assert all(match.real.startswith("train") and match.is_copy for match in result.copies.listed)
    assert 20 < sum(match.mirrored for match in result.copies.listed) < 100
    assert {match.class_name for match in result.closest} == {match.class_name for match in result.copies.listed}
    closest = result.closest[0]
    assert closest.is_copy
    assert [neighbour.real[:5] for neighbour in closest.feature_neighbours] == ["train"] * 3
    assert closest.feature_neighbours[0].distance <= closest.feature_neighbours[1].distance


def test_the_table_and_the_lists_are_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(run.store), "--most", "7"]) == 0
    shown = capsys.readouterr().out
    assert "FD (offline)" in shown
    assert "all classes  good          70 " in shown
    assert "a small classifier trained on the real world split" in shown
    assert shown.count("\noutlier: ") == shown.count("\ncopy: ") == 10
    assert "copies of real images: 70, searched among" in shown
    assert main(["measure", str(run.store), "--most", "7", "--json"]) == 0
    out, _ = capsys.readouterr()
    assert json.loads(out) == json.loads(run.store.read("measures.json"))


def test_a_run_is_measured_again_once_its_shards_changed(tmp_path: Path) -> None:
    run = make(tmp_path, DATA, ("noise",), each=24)  # two shards
    marked = measured(run).model_copy(update={"classes": ("marked",)})
    marked.write(run.store)
    assert measured(run) == marked, "nothing changed, and it was measured again"
    run.shards.remove("00001_stats.json")
    assert measured(run) != marked


def test_without_validation_images_are_compared_with_train(tmp_path: Path) -> None:
    data = data_spec(source="digits", splits=SplitSpec(world=0.5, train=0.5, validation=0, test=0))
    result = measured(make(tmp_path, data, ("noise",), each=8))
    assert result.reference.split == "train"
    assert row(result, "noise").real == result.reference.images > 800


def test_an_encoder_in_a_folder_is_named_by_the_result(run: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "dino"
    shape = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**shape)).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    result = measured(run, "--encoder", str(folder))
    assert (result.encoder.name, result.encoder.revision) == (str(folder), "")
    assert result.encoder.description == f"Dinov2Model {folder}"
    assert [column.title for column in result.columns[:2]] == ["FD (dino)", "KD (dino)"]
    assert result.outliers == ()
    assert not {"margin", "outliers"} & row(result, "good").values.keys()
    assert value(result, "good", "fd") < value(result, "noise", "fd"), "120 images, 8 dimensions"
    assert value(result, "copied", "copies") == result.copies.count == 120


def refusal(run: Run, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["measure", str(run.store), *options]) in (1, 2)
    out, err = capsys.readouterr()
    assert not out
    return err


def test_what_cannot_be_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unreal = make(tmp_path / "unreal", None, ("noise",))
    assert "its spec has no data, and there are no real images to compare with; add data" in refusal(unreal, capsys)
    worldless = data_spec(source="digits", splits=SplitSpec(world=0, train=0.5, validation=0.5, test=0))
    run = make(tmp_path / "worldless", worldless, ("noise",))
    assert "data.splits.world: the offline encoder is trained on it" in refusal(run, capsys)
    for name in [name for name in run.shards.entries() if name.endswith("_stats.json")]:
        run.shards.remove(name)
    assert "no finished shard to measure; run generate first" in refusal(run, capsys)
    unheld = data_spec(source="digits", splits=SplitSpec(world=0.5, train=0, validation=0, test=0.5))
    run = make(tmp_path / "unheld", unheld, ("noise",))
    assert "no image falls into validation or train" in refusal(run, capsys)


def test_images_that_the_generator_learned_from_may_not_judge_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path, DATA, ("noise",))
    digests = "\n".join(image.digest for image in load_splits(DATA).validation[:1])
    (tmp_path / "model" / "world_digests.txt").write_text(digests)
    assert "of the validation split is one of the images that" in refusal(run, capsys)
