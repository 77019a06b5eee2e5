"""Random changes of training images, drawn for each from (seed, step, position in the global batch)."""

from collections.abc import Callable

import torch
import torchvision.transforms.v2.functional as v2
from torch import Tensor

from engine.config.train_spec import AugmentSpec, Change
from engine.training.classifier.loss import IGNORED
from engine.training.random_streams import derive_seed, torch_rng

_LEVELS = 8  # evenly spaced strengths, so that the images with one of them go through torchvision together
_FACTORS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": lambda images, by: v2.adjust_brightness(images, 1 + by),
    "contrast": lambda images, by: v2.adjust_contrast(images, 1 + by),
    "saturation": lambda images, by: v2.adjust_saturation(images, 1 + by),
    "hue": v2.adjust_hue,
    # The odd kernel covers three standard deviations on both sides.
    "blur": lambda images, by: v2.gaussian_blur(images, [2 * max(1, round(3 * abs(by))) + 1] * 2, [abs(by)] * 2),
}
"""Each changes uint8 (images, 3, height, width) by a factor from -strength to +strength, never 0."""


class Augmentation:
    """Random changes of images and their masks. positions: of the rank's images in a global batch of `batch_size`."""

    def __init__(self, spec: AugmentSpec, seed: int, batch_size: int, positions: slice) -> None:
        self._spec, self._seed, self._batch_size, self._positions = spec, seed, batch_size, positions
        changes = ((name, getattr(spec, name)) for name in ("rotation", *_FACTORS, "noise"))
        self._changes: list[tuple[str, Change]] = [(name, change) for name, change in changes if change is not None]

    def __call__(self, images: Tensor, masks: Tensor | None, step: int) -> tuple[Tensor, Tensor | None]:
        """Return changed copies of images, uint8 (N, 3, height, width), and of masks, uint8 (N, height, width).

        A mask is `IGNORED` where a rotation moved in pixels from outside the image.
        """
        if not self._changes and not self._spec.horizontal_flip:
            return images, masks
        draws = torch.rand(
            (1 + len(self._changes), 2, self._batch_size), generator=torch_rng(self._seed, "augment", step)
        )
        draws = draws[:, :, self._positions]
        images, masks = images.clone(), None if masks is None else masks.clone()
        flipped = (draws[0, 0] < self._spec.horizontal_flip).nonzero().flatten()
        images[flipped] = v2.horizontal_flip(images[flipped])
        if masks is not None:
            masks[flipped] = v2.horizontal_flip(masks[flipped])
        for (name, change), (coin, strength) in zip(self._changes, draws[1:], strict=True):
            self._change(name, change, images, masks, coin, strength, step)
        return images, masks

    def _change(
        self, name: str, change: Change, images: Tensor, masks: Tensor | None, coin: Tensor, draw: Tensor, step: int
    ) -> None:
        level = torch.where(coin < change.probability, (draw * _LEVELS).long(), -1)
        for number in level.unique().tolist():
            if number < 0:  # not changed
                continue
            rows = (level == number).nonzero().flatten()
            by = change.strength * ((2 * number + 1) / _LEVELS - 1)
            if name == "rotation":
                images[rows] = v2.rotate(images[rows], by, v2.InterpolationMode.BILINEAR)
                if masks is not None:
                    masks[rows] = v2.rotate(masks[rows], by, fill=[float(IGNORED)])
            elif name == "noise":
                images[rows] = self._with_noise(images[rows], rows, abs(by), step)
            else:
                images[rows] = _FACTORS[name](images[rows], by)

    def _with_noise(self, images: Tensor, rows: Tensor, deviation: float, step: int) -> Tensor:
        positions = range(self._batch_size)[self._positions]
        seeds = [derive_seed(self._seed, "noise", step, positions[row]) for row in rows.tolist()]
        noise = torch.stack([torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds])
        return (images + deviation * noise.to(images.device)).round_().clamp_(0, 255).to(torch.uint8)
