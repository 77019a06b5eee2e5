"""Variations of real images: by their captions alone, and from the images themselves."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine.config.data_spec import SplitSpec
from engine.config.spec import Spec
from engine.data.real_image import RealImage
from engine.data.splits import Splits, load_splits
from engine.errors import SpecError
from engine.generators.generator import Request, load_generator
from engine.prompts.prompt_bank import BankRow, write_bank
from engine.run.run import Run, begin_run, plan_run
from shards.codec import Pixels
from tests.recipes.harness import assert_actors_make_the_same, make_recipe, rows, shipped
from tests.recipes.photos import HALVES, write_photos
from tests.specs import data_spec

PHOTOS = {"cat": 8, "frog": 34, "ship": 40}
QUOTAS = {"cat": 10, "frog": 3, "ship": 0}
"""Of the twenty that the largest class has, four and seventeen are there, and no class gets more than ten."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), PHOTOS)


@pytest.fixture(scope="module")
def splits(photos: Path) -> Splits:
    halves = SplitSpec(world=0, train=0.5, validation=0.5, test=0)
    return load_splits(data_spec(source="imagefolder", path=str(photos), splits=halves))


def caption(image: RealImage) -> str:
    return f"a {image.class_name}, {image.digest[:6]}"


def bank_of(images: tuple[RealImage, ...], path: Path) -> Path:
    write_bank(path, [BankRow(image.class_name, caption(image), image.digest, "m", "describe", 0) for image in images])
    return path


@pytest.fixture(scope="module")
def small(photos: Path, splits: Splits, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return overrides of captioned-variations.yaml."""
    bank = bank_of(splits.train, tmp_path_factory.mktemp("bank") / "captions.parquet")
    return (
        f"data.path={photos}",
        HALVES,
        f"prompts.bank={bank}",
        f"model.source={tiny_model}",
        "model.steps=4",
        "model.batch_size=4",
        "output.samples_per_shard=4",
        "output.image={format: png}",
        "filters=[]",
        "cluster.gpus_per_actor=0",
    )


FROM_IMAGES = ("model.kind=image-to-image", "model.strength=0.7", "condition.source=real")


def check(run: Run, splits: Splits) -> None:
    plan = run.context.plan
    assert dict(zip(plan.classes, plan.quotas, strict=True)) == QUOTAS
    train = {image.digest: image for image in splits.train}
    for row in rows(run):
        assert row["class_name"] == train[row["source"]].class_name
        assert row["prompt"] == caption(train[row["source"]])
        assert row["strategy"] == "bank"
    used = Counter(row["source"] for row in rows(run))
    assert sorted(used.values()) == [1, 1, 1, 2, 2, 3, 3], "each of the cats equally often, and three frogs"


def test_captions_make_images_of_their_class(small: tuple[str, ...], splits: Splits, tmp_path: Path) -> None:
    run = make_recipe(shipped("captioned-variations.yaml", *small), tmp_path)
    check(run, splits)
    assert {row["pipeline"] for row in rows(run)} == {"StableDiffusionPipeline"}
    assert not list((run.store.local / "assets").rglob("*.tar")), "words alone need no images"


def test_images_vary_the_image_of_their_caption(small: tuple[str, ...], splits: Splits, tmp_path: Path) -> None:
    run = make_recipe(shipped("captioned-variations.yaml", *small, *FROM_IMAGES), tmp_path / "run")
    check(run, splits)
    assert {row["pipeline"] for row in rows(run)} == {"StableDiffusionImg2ImgPipeline"}


@pytest.mark.slow
def test_actors_make_the_same_bytes(small: tuple[str, ...], tmp_path: Path) -> None:
    run = make_recipe(shipped("captioned-variations.yaml", *small, *FROM_IMAGES), tmp_path / "run")
    assert_actors_make_the_same(run, tmp_path / "actors")


def test_the_own_image_comes_with_the_caption(small: tuple[str, ...], splits: Splits, tmp_path: Path) -> None:
    spec = shipped("captioned-variations.yaml", *small, *FROM_IMAGES)
    context = begin_run(plan_run(spec), tmp_path).context
    train = {image.digest: image for image in splits.train}
    for slot in map(context.plan.slot, range(context.plan.total)):
        condition = context.request(slot, 0).condition
        assert condition is not None
        assert np.array_equal(condition.control(32, 32), train[condition.source].pixels())


@pytest.mark.parametrize("more", [(), FROM_IMAGES], ids=["words", "images"])
@pytest.mark.parametrize("split", ["validation", "another class"])
def test_a_caption_of_a_forbidden_image_is_refused(
    split: str, more: tuple[str, ...], small: tuple[str, ...], splits: Splits, tmp_path: Path
) -> None:
    image = splits.validation[0] if split == "validation" else splits.train[-1]
    wrong = RealImage(image.label, "cat", image.origin, image.read)
    bank = bank_of((*splits.train, wrong), tmp_path / "captions.parquet")
    spec = shipped("captioned-variations.yaml", *small, *more, f"prompts.bank={bank}")
    with pytest.raises(SpecError, match=rf"'cat' describes image {image.digest[:12]}, which is not one of its train"):
        plan_run(spec)


def digits(strength: float, folder: Path) -> tuple[list[Request], Pixels]:
    """Eight variations, by the trained model of handwritten digits, of real ones; and their requests."""
    spec = Spec.model_validate_json(
        '{"name": "digits", "data": {"source": "digits"}, "plan": {"per_class": 2}, "condition": {"source": "real"},'
        ' "prompts": {"templates": ["a handwritten digit {class}"]}, "model": {"kind": "image-to-image", "steps": 20,'
        f' "source": "embedded/digits", "strength": {strength}, "batch_size": 8, "dtype": "fp32"}}}}'
    )
    context = begin_run(plan_run(spec), folder).context
    requests = [context.request(context.plan.slot(index), 0) for index in range(8)]
    generator = load_generator(spec.model, spec.output.image, spec.cluster)
    images = generator.generate(requests).pixels
    other = generator.generate([*requests[4:], *requests[:4]]).pixels
    assert np.array_equal(np.roll(other, 4, axis=0), images), "neighbours change nothing"
    return requests, images


def test_the_lower_the_strength_the_nearer_the_image(tmp_path: Path) -> None:
    distances = {}
    for strength in (0.1, 0.5, 1.0):
        requests, images = digits(strength, tmp_path / str(strength))
        real = np.stack([item.condition.control(*images.shape[1:3]) for item in requests if item.condition is not None])
        distances[strength] = np.abs(images.astype(float) - real).mean(axis=(1, 2, 3))
        others = np.abs(images[:, None].astype(float) - real[None]).mean(axis=(2, 3, 4))
        if strength == 0.1:
            assert (others.argmin(axis=1) == np.arange(8)).all(), "each is nearest to its own source"
    assert (distances[0.1] < 15).all(), distances
    assert (distances[0.1] < distances[0.5]).all()
    assert distances[0.5].mean() < distances[1.0].mean()
