"""What a training reads: places of shards, the mix of them, and strictly real images to be judged on."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.apportion import apportion
from engine.config.train_spec import DEFAULT_STEPS, TrainSpec
from engine.errors import DataError, SpecError
from engine.training.classifier.network_factory import CENTRED, IMAGENET, Statistics
from shards import MixedStream, ShardStream

_LOOKED_AT, _AT_ONCE = 1024, 64


@dataclass(frozen=True)
class TrainData:
    """Places of shards: folders or URLs, as `ShardStream` takes them.

    synthetic: None where there are none. test: looked at once, after the training; None without one.
    classes:   names in label order; of masks, in the order of their class indices.
    """

    real: str
    synthetic: str | None
    validation: str
    test: str | None
    classes: tuple[str, ...]

    def judged(self, spec: TrainSpec, threads: int) -> dict[str, ShardStream]:
        """Validation, and test if there is one, in the order on disk. Raises NotReal for a synthetic sample."""
        places = {"validation": self.validation} | ({} if self.test is None else {"test": self.test})
        return {split: self._stream(place, spec, threads, shuffle=False) for split, place in places.items()}

    def mix(self, spec: TrainSpec, threads: int, rank: int = 0, world_size: int = 1) -> MixedStream:
        """What is trained on. Raises SpecError for what cannot be mixed, NotReal for a synthetic sample in `real`."""
        counts = _counts(spec)
        real = self._stream(self.real, spec, threads, images=counts[0])
        place = None if spec.alpha == 0 else self.synthetic
        synthetic = None if place is None else self._stream(place, spec, threads, images=counts[1], real_only=False)
        if synthetic is None and spec.alpha:
            raise SpecError(f"train.alpha is {spec.alpha:g}, and there are no synthetic shards; set it to 0")
        alpha: float | dict[str | int, float] | None = spec.alpha if synthetic is not None else 0.0
        weights: dict[str | int, float] | None = None
        if spec.balance == "oversample":
            alpha, weights = _evenly(real, synthetic, spec.alpha)
        try:
            return MixedStream(
                real, synthetic, alpha, batch_size=spec.batch_size, seed=spec.seed, rank=rank,
                world_size=world_size, class_weights=weights,
            )  # fmt: skip
        except ValueError as error:
            raise SpecError(f"train: {error}") from None

    def _stream(
        self,
        place: str,
        spec: TrainSpec,
        threads: int,
        *,
        images: int | None = None,
        real_only: bool = True,
        shuffle: bool = True,
    ) -> ShardStream:
        """images: how many of them to take, each class by its share; None: all."""
        opened = partial(
            ShardStream,
            place,
            seed=spec.seed,
            shuffle=shuffle,
            real_only=real_only,
            threads=threads,
            size=spec.image_size,
            mask=spec.model == "unet",
        )
        stream = opened()
        if images is not None and images != len(stream):
            stream = opened(select=_first_keys(stream, images, place))
        labels = stream.label[stream.rows]
        if stream.reader.has_masks and len(bare := stream.rows[stream.index.ranges["mask"][0][stream.rows] < 0]):
            sample = stream.reader.locate(int(bare[0]))
            raise DataError(f"{sample} has no mask, and unet learns from masks; name another model")
        if not stream.reader.has_masks and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise DataError(
                f"{place}: labels go from {labels.min()} to {labels.max()}, for {len(self.classes)} classes"
            )
        return stream


def real_and_synthetic(mix: MixedStream) -> tuple[ShardStream, ShardStream | None]:
    """The streams of a mix of ours."""
    real, *synthetic = mix.sources
    return real, synthetic[0] if synthetic else None


def epoch_images(spec: TrainSpec, mix: MixedStream) -> float:
    """How many images are trained on until every real one came, or with alpha 1 every synthetic one."""
    real, synthetic = real_and_synthetic(mix)
    if spec.alpha is None or synthetic is None:
        return float(len(real) + (0 if synthetic is None else len(synthetic)))
    return float(len(synthetic)) if spec.alpha == 1 else len(real) / (1 - spec.alpha)


def total_steps(spec: TrainSpec, mix: MixedStream) -> int:
    """How many steps a training has."""
    if spec.epochs is None:
        return spec.steps or DEFAULT_STEPS
    return max(1, round(spec.epochs * epoch_images(spec, mix) / spec.batch_size))


def loss_weights(spec: TrainSpec, mix: MixedStream, classes: int) -> NDArray[np.float32] | None:
    """Of each class, so that their mean over the images of the mix is 1 and every class has the same part in the loss;
    None where they are not asked for."""
    if spec.balance != "class_weights":
        return None
    real, synthetic = real_and_synthetic(mix)
    share = _shares(real, classes)
    if synthetic is not None:
        other = _shares(synthetic, classes)
        counts = len(real), len(synthetic)
        alpha = counts[1] / sum(counts) if spec.alpha is None else spec.alpha
        share = (1 - alpha) * share + alpha * other
    there = share > 0
    weights: NDArray[np.float64] = np.divide(1.0, share * there.sum(), out=np.zeros(classes), where=there)
    return weights.astype(np.float32)


def pixel_statistics(spec: TrainSpec, real: ShardStream) -> Statistics:
    """What the pixels are scaled by; `dataset`: of at most 1024 real train images, at least 1."""
    if spec.normalize != "dataset":
        return IMAGENET if spec.normalize == "imagenet" else CENTRED
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for start in range(0, min(len(real), _LOOKED_AT), _AT_ONCE):
        pixels = real.read(range(start, min(start + _AT_ONCE, len(real)))).image.reshape(-1, 3).astype(np.float64)
        count, total, squares = count + len(pixels), total + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0)
    mean = total / count
    return mean.tolist(), np.maximum(np.sqrt(np.maximum(squares / count - mean**2, 0)), 1.0).tolist()


def _counts(spec: TrainSpec) -> tuple[int | None, int | None]:
    """How many real and synthetic images are trained on; None: all, or none."""
    if spec.total is None or spec.alpha is None:
        return None, None
    synthetic = round(spec.alpha * spec.total)
    return (spec.total - synthetic) or None, synthetic or None


def _first_keys(stream: ShardStream, images: int, place: str) -> list[str]:
    """The first of each class, in the order on disk: fewer are a part of more."""
    if images > len(stream):
        raise SpecError(f"train.total: takes {images:,} images of {place}, which holds {len(stream):,}; lower it")
    label = stream.label[stream.rows]
    _, start, count = np.unique(np.sort(label), return_index=True, return_counts=True)
    taken = np.array(apportion(images, count.tolist()))
    order = np.argsort(label, kind="stable")
    nth = np.arange(len(order)) - np.repeat(start, count)
    rows = np.sort(stream.rows[order[nth < np.repeat(taken, count)]])
    return list(map(stream.index.key, rows.tolist()))


def _shares(stream: ShardStream, classes: int) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.bincount(stream.label[stream.rows], minlength=classes).astype(np.float64)
    return counts / float(counts.sum())


def _evenly(
    real: ShardStream, synthetic: ShardStream | None, alpha: float | None
) -> tuple[dict[str | int, float], dict[str | int, float]]:
    """An alpha for each class, and how often each comes: all equally. A class with one kind of images keeps to that."""
    label = real.label[real.rows], np.zeros(0, np.int64) if synthetic is None else synthetic.label[synthetic.rows]
    found = np.unique(np.concatenate(label)).tolist()
    counts = {one: tuple(int((side == one).sum()) for side in label) for one in found}
    alphas: dict[str | int, float] = {
        one: alpha if alpha is not None and all(counts[one]) else counts[one][1] / sum(counts[one]) for one in found
    }
    return alphas, dict.fromkeys(found, 1.0)
