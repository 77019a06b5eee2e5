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
from engine.config.plan_spec import PlanSpec
from engine.config.prompts_spec import PromptsSpec, Strategy
from engine.config.spec import Spec
from engine.config.train_spec import TrainSpec
from engine.data.open_source import open_source
from engine.data.splits import load_splits
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.generators.generator import Request
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
        return [[fit_rgb(one.pixels(), SIZE, SIZE) for one in images if one.label == label] for label in range(10)]

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
        run_unit(run.recipe, number, generator, run.shards)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make(tmp_path_factory.mktemp("known"), DATA)


@pytest.fixture(scope="module")
def found(run: Run) -> dict[str, Any]:
    """What measures.json holds."""
    assert main(["measure", str(run.store)]) == 0
    return json.loads(run.store.read("measures.json"))  # type: ignore[no-any-return]


def row(found: dict[str, Any], strategy: str, class_name: str = "all classes") -> dict[str, Any]:
    (one,) = (one for one in found["rows"] if (one["strategy"], one["class_name"]) == (strategy, class_name))
    return one  # type: ignore[no-any-return]


def test_there_is_a_row_for_each_strategy_and_class_beside_real_ones(run: Run, found: dict[str, Any]) -> None:
    groups = [*STRATEGIES, "real (world)"]
    assert {one["strategy"] for one in found["rows"]} == set(groups)
    assert len(found["rows"]) == 11 * len(groups)
    for name in STRATEGIES:
        assert (row(found, name)["images"], row(found, name)["compared"]) == (10 * EACH, 10 * EACH)
    assert row(found, "real (world)", "two")["compared"] == EACH
    assert found["reference"] == {"split": "validation", "images": row(found, "good")["real"]}
    assert found["encoder"]["name"] == "offline"
    assert "real world split" in found["encoder"]["told"]


def test_good_images_are_nearer_than_wrong_ones_and_noise(found: dict[str, Any]) -> None:
    good, wrong, noise, real = (row(found, name) for name in ("good", "wrong", "noise", "real (world)"))
    for near in (good, real):
        for far in (wrong, noise):
            assert near["kid"]["mean"] + 5 * near["kid"]["standard_error"] < far["kid"]["mean"]
    for measure in ("precision", "recall", "density", "coverage"):
        assert good["manifold"][measure] > 2 * wrong["manifold"][measure] >= 2 * noise["manifold"][measure]


def test_copies_cover_less_than_as_many_different_images(found: dict[str, Any]) -> None:
    assert row(found, "copied")["manifold"]["recall"] < row(found, "good")["manifold"]["recall"]


def test_fid_is_given_where_images_outnumber_dimensions(found: dict[str, Any]) -> None:
    assert all(row(found, name)["fid"] is None for name in STRATEGIES), "120 images, 128 dimensions"


def test_images_of_another_class_are_the_outliers(found: dict[str, Any]) -> None:
    good, wrong = row(found, "good"), row(found, "wrong")
    assert wrong["outliers"] > 0.9 * wrong["images"]
    assert good["outliers"] < 0.1 * good["images"]
    assert good["margin"] > 0 > wrong["margin"]
    margins = [one["margin"] for one in found["outliers"]]
    assert margins == sorted(margins)
    assert len(margins) > 100
    digits = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    shifted = [one for one in found["outliers"] if one["strategy"] == "wrong"]
    right = [one for one in shifted if one["other"] == digits[(digits.index(one["class_name"]) + 1) % 10]]
    assert len(right) > 0.8 * len(shifted) > 80


def test_copies_are_named_with_the_image_that_they_copy(found: dict[str, Any]) -> None:
    copied = row(found, "copied")
    assert copied["copies"] == copied["images"] == found["copies"]["found"]
    assert [row(found, name)["copies"] for name in ("good", "wrong", "noise")] == [0, 0, 0]
    assert row(found, "real (world)")["copies"] is None
    assert all(one["real"].startswith("train") and one["copy"] for one in found["copies"]["images"])
    assert 20 < sum(one["mirrored"] for one in found["copies"]["images"]) < 100
    assert {one["class_name"] for one in found["neighbours"]} == {
        one["class_name"] for one in found["copies"]["images"]
    }
    nearest = found["neighbours"][0]
    assert nearest["copy"]
    assert [one["real"][:5] for one in nearest["by_features"]] == ["train"] * 3
    assert nearest["by_features"][0]["distance"] <= nearest["by_features"][1]["distance"]


def test_the_table_and_what_stands_out_are_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(run.store), "--most", "7"]) == 0
    shown = capsys.readouterr().out
    assert "all classes  good          70 " in shown
    assert "a small classifier trained on the real world split" in shown
    assert shown.count("\noutlier: ") == shown.count("\ncopy: ") == 10
    assert "copies of real images: 70, looked for among" in shown
    assert main(["measure", str(run.store), "--most", "7", "--json"]) == 0
    out, _ = capsys.readouterr()
    assert json.loads(out) == json.loads(run.store.read("measures.json"))


def test_what_was_measured_is_measured_again_once_shards_changed(tmp_path: Path) -> None:
    run = make(tmp_path, DATA, ("noise",), each=24)  # two shards
    assert main(["measure", str(run.store)]) == 0
    first = json.loads(run.store.read("measures.json"))
    run.store.replace("measures.json", json.dumps({**first, "marked": True}).encode())
    assert main(["measure", str(run.store)]) == 0
    assert json.loads(run.store.read("measures.json"))["marked"], "nothing changed, and it was measured again"
    run.shards.remove("00001_stats.json")
    assert main(["measure", str(run.store)]) == 0
    assert "marked" not in json.loads(run.store.read("measures.json"))


def test_without_validation_train_is_what_images_are_compared_with(tmp_path: Path) -> None:
    data = data_spec(source="digits", splits=SplitSpec(world=0.5, train=0.5, validation=0, test=0))
    run = make(tmp_path, data, ("noise",), each=8)
    assert main(["measure", str(run.store)]) == 0
    found = json.loads(run.store.read("measures.json"))
    assert found["reference"]["split"] == "train"
    assert row(found, "noise")["real"] == found["reference"]["images"] > 800


def test_an_encoder_in_a_folder_gives_features_and_the_result_names_it(run: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**shape)).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    assert main(["measure", str(run.store), "--encoder", str(tmp_path)]) == 0
    found = json.loads(run.store.read("measures.json"))
    assert found["encoder"] == {"name": str(tmp_path), "revision": "", "told": f"Dinov2Model {tmp_path}"}
    assert found["outliers"] == []
    assert row(found, "good")["margin"] is row(found, "good")["outliers"] is None
    assert row(found, "good")["fid"] < row(found, "noise")["fid"], "120 images, 8 dimensions"
    assert row(found, "copied")["copies"] == found["copies"]["found"] == 120


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
