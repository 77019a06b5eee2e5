"""The data of a training: locations of shards, their mix, and strictly real images to evaluate on."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.apportion import apportion
from engine.config.train_spec import DEFAULT_STEPS, TrainSpec
from engine.errors import DataError, SpecError
from engine.training.classifier.network_factory import CENTRED, IMAGENET, Statistics
from shards import MixedStream, ShardStream

_STATISTICS_IMAGES, _BATCH = 1024, 64


@dataclass(frozen=True)
class TrainData:
    """Locations of shards, as `ShardStream` takes them. classes: in label order; of masks, by class index."""

    real: str
    synthetic: str | None
    validation: str
    test: str | None
    classes: tuple[str, ...]

    def evaluation_streams(self, spec: TrainSpec, threads: int) -> dict[str, ShardStream]:
        """Open validation, and test if there is one, in the order on disk. Raises NotReal for a synthetic sample."""
        locations = {"validation": self.validation} | ({} if self.test is None else {"test": self.test})
        return {split: self._stream(location, spec, threads, shuffle=False) for split, location in locations.items()}

    def mix(self, spec: TrainSpec, threads: int, rank: int = 0, world_size: int = 1) -> MixedStream:
        """Open the training mix. Raises SpecError if it cannot be mixed, NotReal for a synthetic sample in `real`."""
        real_images, synthetic_images = _image_counts(spec)
        real = self._stream(self.real, spec, threads, images=real_images)
        synthetic = None
        if self.synthetic is not None and spec.alpha != 0:
            synthetic = self._stream(self.synthetic, spec, threads, images=synthetic_images, real_only=False)
        if synthetic is None and spec.alpha:
            raise SpecError(f"train.alpha is {spec.alpha:g}, and there are no synthetic shards; set it to 0")
        alpha: float | dict[str | int, float] | None = spec.alpha if synthetic is not None else 0.0
        weights: dict[str | int, float] | None = None
        if spec.balance == "oversample":
            alpha, weights = _equal_shares(real, synthetic, spec.alpha)
        try:
            return MixedStream(
                real, synthetic, alpha, batch_size=spec.batch_size, seed=spec.seed, rank=rank,
                world_size=world_size, class_weights=weights,
            )  # fmt: skip
        except ValueError as error:
            raise SpecError(f"train: {error}") from None

    def _stream(
        self,
        location: str,
        spec: TrainSpec,
        threads: int,
        *,
        images: int | None = None,  # to take, each class by its share; None: all
        real_only: bool = True,
        shuffle: bool = True,
    ) -> ShardStream:
        open_stream = partial(
            ShardStream, location, seed=spec.seed, shuffle=shuffle, real_only=real_only, threads=threads,
            size=spec.image_size, mask=spec.model.labels_pixels,
        )  # fmt: skip
        stream = open_stream()
        if images is not None and images != len(stream):
            stream = open_stream(select=_first_keys(stream, images, location))
        labels = stream.label[stream.rows]
        if stream.reader.has_masks:
            unmasked = stream.rows[stream.index.ranges["mask"][0][stream.rows] < 0]
            if len(unmasked):
                raise DataError(
                    f"{stream.reader.locate(int(unmasked[0]))} has no mask, and {spec.model.kind} learns from masks; "
                    "give another train.model"
                )
        elif not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise DataError(
                f"{location}: labels go from {labels.min()} to {labels.max()}, for {len(self.classes)} classes"
            )
        return stream


def real_and_synthetic(mix: MixedStream) -> tuple[ShardStream, ShardStream | None]:
    """Return the streams of a mix that `TrainData.mix` opened."""
    real, *synthetic = mix.sources
    return real, synthetic[0] if synthetic else None


def epoch_images(spec: TrainSpec, mix: MixedStream) -> float:
    """Return the images of an epoch: one pass over the real images, or with alpha 1 over the synthetic ones."""
    real, synthetic = real_and_synthetic(mix)
    if spec.alpha is None or synthetic is None:
        return float(len(real) + (0 if synthetic is None else len(synthetic)))
    return float(len(synthetic)) if spec.alpha == 1 else len(real) / (1 - spec.alpha)


def total_steps(spec: TrainSpec, mix: MixedStream) -> int:
    """Return the number of steps of a training."""
    if spec.epochs is None:
        return spec.steps or DEFAULT_STEPS
    return max(1, round(spec.epochs * epoch_images(spec, mix) / spec.batch_size))


def loss_weights(spec: TrainSpec, mix: MixedStream, classes: int) -> NDArray[np.float32] | None:
    """Return a weight for each class that gives every class the same part of the loss, or None without class weights.

    The mean of the weights over the images of the mix is 1.
    """
    if spec.balance != "class_weights":
        return None
    real, synthetic = real_and_synthetic(mix)
    share = _class_shares(real, classes)
    if synthetic is not None:
        images = len(real) + len(synthetic)
        alpha = len(synthetic) / images if spec.alpha is None else spec.alpha
        share = (1 - alpha) * share + alpha * _class_shares(synthetic, classes)
    occurring = share > 0
    weights: NDArray[np.float64] = np.divide(1.0, share * occurring.sum(), out=np.zeros(classes), where=occurring)
    return weights.astype(np.float32)


def pixel_statistics(spec: TrainSpec, real: ShardStream) -> Statistics:
    """Return the statistics that pixels are normalized by; of a data set, over at most 1024 real train images."""
    if spec.normalize != "dataset":
        return IMAGENET if spec.normalize == "imagenet" else CENTRED
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    images = min(len(real), _STATISTICS_IMAGES)
    for start in range(0, images, _BATCH):
        rows = range(start, min(start + _BATCH, len(real)))
        pixels = real.read(rows).image.reshape(-1, 3).astype(np.float64)
        count, total, squares = count + len(pixels), total + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.tolist(), np.maximum(std, 1.0).tolist()  # at least 1, so that black images do not divide by zero


def _image_counts(spec: TrainSpec) -> tuple[int | None, int | None]:
    """Return how many real and synthetic images are trained on; None: all, or none."""
    if spec.total is None or spec.alpha is None:
        return None, None
    synthetic = round(spec.alpha * spec.total)
    return (spec.total - synthetic) or None, synthetic or None


def _first_keys(stream: ShardStream, images: int, location: str) -> list[str]:
    """Return keys of the first images of each class, in the order on disk, so that a smaller number is a subset."""
    if images > len(stream):
        raise SpecError(f"train.total: takes {images:,} images of {location}, which holds {len(stream):,}; lower it")
    label = stream.label[stream.rows]
    _, start, count = np.unique(np.sort(label), return_index=True, return_counts=True)
    taken = np.array(apportion(images, count.tolist()))
    order = np.argsort(label, kind="stable")
    number_in_class = np.arange(len(order)) - np.repeat(start, count)
    rows = np.sort(stream.rows[order[number_in_class < np.repeat(taken, count)]])
    return list(map(stream.index.key, rows.tolist()))


def _class_shares(stream: ShardStream, classes: int) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = np.bincount(stream.label[stream.rows], minlength=classes).astype(np.float64)
    return counts / float(counts.sum())


def _equal_shares(
    real: ShardStream, synthetic: ShardStream | None, alpha: float | None
) -> tuple[dict[str | int, float], dict[str | int, float]]:
    """Return an alpha for each class, and equal weights of all classes. A class with one kind of images keeps to it."""
    real_labels = real.label[real.rows]
    synthetic_labels = np.zeros(0, np.int64) if synthetic is None else synthetic.label[synthetic.rows]
    alphas: dict[str | int, float] = {}
    for label in np.unique(np.concatenate([real_labels, synthetic_labels])).tolist():
        counts = int((real_labels == label).sum()), int((synthetic_labels == label).sum())
        alphas[label] = alpha if alpha is not None and all(counts) else counts[1] / sum(counts)
    return alphas, dict.fromkeys(alphas, 1.0)
