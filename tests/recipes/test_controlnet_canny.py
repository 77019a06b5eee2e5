"""The recipe controlnet-canny: edges of real images of rare classes. Needs photographs of CIFAR-10."""

import io
from collections import Counter
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engine.data.splits import load_splits
from engine.run.run import Run
from tests.recipes.controlnets import SMALL, make, models
from tests.recipes.harness import assert_actors_make_the_same, make_recipe, rows, shipped
from tests.recipes.photos import HALVES, write_photos

__all__ = ["models"]


@pytest.fixture(scope="module")
def edged(models: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """controlnet-canny.yaml as it is shipped, small; and its photos."""
    folder = tmp_path_factory.mktemp("edged")
    photos = write_photos(folder / "photos", {"cat": 40, "frog": 8, "ship": 12})
    small = ("plan.per_class=12", "plan.only_below=10", "output.samples_per_shard=8", "output.image.size=null")
    frame = ("model.width=32", "model.height=32", HALVES, f"data.path={photos}")
    return make_recipe(shipped("controlnet-canny.yaml", *models, *SMALL, *small, *frame), folder), photos


def test_edges_are_those_of_the_own_train_images(edged: tuple[Run, Path], tmp_path: Path) -> None:
    run, photos = edged
    assert dict(zip(run.context.plan.classes, run.context.plan.quotas, strict=True)) == {
        "cat": 0,
        "frog": 12,
        "ship": 12,
    }
    assert run.context.spec.data is not None
    train = {image.digest for image in load_splits(run.context.spec.data).train}
    known = {sha256(path.read_bytes()).hexdigest(): path for path in photos.glob("*/*.png")}
    again, controls = make(run.context.spec, tmp_path / "run")
    used = Counter()
    for row, control in zip(rows(again), controls, strict=True):
        path = known[row["source"]]
        assert row["source"] in train
        assert path.parent.name == row["class_name"]
        used[path] += 1
        edges = cv2.Canny(np.asarray(Image.open(io.BytesIO(path.read_bytes()))), 100, 200)
        assert np.array_equal(control, np.repeat(edges[..., None], 3, axis=2))
        assert 0 < (edges > 0).mean() < 0.6
    assert Counter(used.values()) == {3: 4, 2: 6}
    stored = list((again.store.local / "assets").rglob("*.tar"))
    assert len(stored) == 1, "only the rare classes' images are kept"


@pytest.mark.slow
def test_actors_make_the_same_bytes_from_edges(edged: tuple[Run, Path], tmp_path: Path) -> None:
    assert_actors_make_the_same(edged[0], tmp_path)
