"""Augmentations are drawn per image, independently of the batch, and masks move with their images."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.config.train_spec import AugmentSpec, Change
from engine.training.classifier.augmentation import Augmentation
from engine.training.classifier.loss import IGNORED

CHANGES = {
    "rotation": 10.0,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.5,
    "hue": 0.2,
    "blur": 1.0,
    "noise": 12.0,
}
ALL = AugmentSpec(horizontal_flip=0.5, **{name: Change(strength=most) for name, most in CHANGES.items()})


def images(count: int = 16, size: int = 12) -> Tensor:
    drawn = np.random.default_rng(0).integers(0, 255, (count, 3, size, size), dtype=np.uint8)
    return torch.from_numpy(drawn)


def test_two_ranks_change_a_batch_as_one_does() -> None:
    batch = images()
    whole, _ = Augmentation(ALL, 7, 16, slice(0, 16, 1))(batch, None, 3)
    for rank in (0, 1):
        part, _ = Augmentation(ALL, 7, 16, slice(rank, 16, 2))(batch[rank::2], None, 3)
        assert torch.equal(part, whole[rank::2])


def test_equal_images_are_changed_differently_at_every_step() -> None:
    batch = images(1).repeat(16, 1, 1, 1)
    augment = Augmentation(ALL, 7, 16, slice(0, 16, 1))
    first, _ = augment(batch, None, 0)
    assert len({image.numpy().tobytes() for image in first}) > 12
    assert torch.equal(first, augment(batch, None, 0)[0])
    assert not torch.equal(first, augment(batch, None, 1)[0])
    assert not torch.equal(first, Augmentation(ALL, 8, 16, slice(0, 16, 1))(batch, None, 0)[0])


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_affects_about_its_share_of_images(name: str) -> None:
    batch = images(200, 8)
    spec = AugmentSpec(**{name: Change(strength=CHANGES[name], probability=0.3)})
    changed, _ = Augmentation(spec, 1, 200, slice(0, 200, 1))(batch, None, 0)
    assert changed.dtype == torch.uint8
    touched = (changed != batch).flatten(1).any(1).float().mean()
    assert 0.15 < touched <= 0.45
    assert torch.equal(batch, images(200, 8)), "the input batch is not changed"


def test_masks_move_with_their_images() -> None:
    masks = torch.zeros(32, 16, 16, dtype=torch.uint8)
    masks[:, 3:7, 2:6] = 1
    batch = (masks[:, None] * 255).expand(-1, 3, -1, -1).contiguous()
    spec = AugmentSpec(horizontal_flip=0.5, rotation=Change(strength=40, probability=1.0))
    changed, moved = Augmentation(spec, 1, 32, slice(0, 32, 1))(batch, masks, 0)
    assert moved is not None
    known = moved != IGNORED
    agree = ((changed[:, 0] > 127) == (moved == 1))[known].float().mean()
    assert agree > 0.97
    assert not torch.equal(moved, masks)
    assert not known.all(), "pixels from outside the image have no class"
