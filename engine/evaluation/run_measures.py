"""Measurement of a run: the table, outliers, copies of real images, and the nearest real images."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.splits import SPLITS, Splits
from engine.errors import SpecError
from engine.evaluation.encoders import OFFLINE, ClassFits, ClassifierEncoder, Encoder
from engine.evaluation.image_groups import (
    GroupFeatures,
    encode_samples,
    open_shards,
    read_thumbnails,
    reference_split,
    strategies_of,
)
from engine.evaluation.measure_plugin import all_measures
from engine.evaluation.measure_result import (
    REAL,
    CopySearch,
    EncoderInfo,
    FeatureNeighbour,
    MeasureResult,
    OutlierImage,
    PixelMatch,
    ReferenceSplit,
)
from engine.evaluation.measure_rows import MeasureGroup, fit_to_classes, make_rows
from engine.evaluation.neighbours import PixelMatches, Progress, match_pixels, nearest
from engine.run.leakage import prepare_real
from engine.run.run import Run
from engine.training.classifier.classifier_job import train_encoder
from shards.storage.manifest import read_all_stats

_LISTED = 200
_CLOSEST = 3
_NEIGHBOURS = 3


def measure_run(run: Run, encoder_name: str, progress: Progress, limit: int | None = None) -> MeasureResult:
    """Measure the finished shards of a run and write RUN/measures.json.

    A result of the offline encoder for the same shards is returned without measuring again.
    encoder_name: `offline`, a hub id or a folder. limit: images of each class and strategy; None for all.
    Raises SpecError, DataError, ModelError.
    """
    splits = prepare_real(run)
    fingerprint = _fingerprint(run, encoder_name, limit)
    # A hub model or a folder may have changed since.
    if encoder_name == OFFLINE and (known := MeasureResult.read(run.store)) and known.fingerprint == fingerprint:
        return known
    result = _Measurement(run, splits, progress).measure(encoder_name, limit, fingerprint)
    result.write(run.store)
    run.store.sweep()
    return result


def _fingerprint(run: Run, encoder_name: str, limit: int | None) -> str:
    folders = [run.shards, *(run.store / "real" / split for split in SPLITS)]
    hashes = [
        [file["sha256"] for file in stats["files"]] for folder in folders for stats in read_all_stats(folder).values()
    ]
    return hashlib.sha256(json.dumps([encoder_name, limit, hashes]).encode()).hexdigest()


@dataclass(frozen=True)
class _Synthetic:
    """The encoded synthetic images of a run, with the real image that each is most like by pixels."""

    images: GroupFeatures
    strategy: NDArray[np.str_]
    fits: ClassFits | None
    matches: PixelMatches
    real_keys: Sequence[str]
    classes: Sequence[str]

    def groups(self, strategies: Sequence[str]) -> dict[str, MeasureGroup]:
        """Return the images of each strategy in the order of the spec; a model without prompts has its own strategy."""
        groups = {}
        for name in dict.fromkeys([*strategies, *self.strategy.tolist()]):
            rows = self.strategy == name
            if rows.any():
                fits = None if self.fits is None else self.fits[rows]
                groups[name] = MeasureGroup(self.images[rows], fits, self.matches.is_copy[rows])
        return groups

    def outliers(self) -> Iterator[OutlierImage]:
        """Yield the outliers of the lowest margins."""
        if self.fits is None:
            return
        rows = np.flatnonzero(self.fits.outlier)
        for row in rows[np.argsort(self.fits.margin[rows], kind="stable")][:_LISTED]:
            yield OutlierImage(
                key=str(self.images.key[row]),
                class_name=self.classes[self.images.label[row]],
                strategy=str(self.strategy[row]),
                margin=float(self.fits.margin[row]),
                resembles=self.classes[self.fits.best_other[row]],
            )

    def copies(self) -> CopySearch:
        """Return the number of copies, and the clearest ones."""
        rows = self.matches.by_distance(np.flatnonzero(self.matches.is_copy))
        listed = tuple(self._match(row) for row in rows[:_LISTED])
        return CopySearch(count=len(rows), real_images=len(self.real_keys), listed=listed)

    def closest(self, train: GroupFeatures) -> Iterator[PixelMatch]:
        """Yield the closest images of each class, with the nearest train images by features."""
        for label in range(len(self.classes)):
            rows = self.matches.by_distance(np.flatnonzero(self.images.label == label))[:_CLOSEST]
            near, distance = nearest(self.images.features[rows], train.features, _NEIGHBOURS)
            cosine = np.square(distance) / (2 * train.features.shape[1])  # rows have length sqrt(dimensions)
            for row, neighbours, distances in zip(rows, near, cosine, strict=True):
                named = zip(train.key[neighbours].tolist(), distances.tolist(), strict=True)
                by_features = tuple(FeatureNeighbour(real=key, distance=distance) for key, distance in named)
                yield self._match(row).model_copy(update={"feature_neighbours": by_features})

    def _match(self, row: int) -> PixelMatch:
        class_name = self.classes[self.images.label[row]]
        return self.matches.match(row, str(self.images.key[row]), class_name, self.real_keys)


@dataclass(frozen=True)
class _Measurement:
    run: Run
    splits: Splits
    progress: Progress

    def measure(self, encoder_name: str, limit: int | None, fingerprint: str) -> MeasureResult:
        classes, split = tuple(self.splits.classes), reference_split(self.splits)
        shards = open_shards(self.run.shards, real=False)
        encoder = self._encoder(encoder_name)
        reference = self._encode_real(split, encoder)
        strategy = strategies_of(self.run, shards)
        rows = _first(shards.label, strategy, limit)
        images = encode_samples(shards, rows, encoder, self.progress, "synthetic images")
        fits = fit_to_classes(images, reference)
        synthetic = _Synthetic(images, strategy[rows], fits, *self._match_pixels(images), classes)
        groups = synthetic.groups([named.name for named in self.run.context.spec.prompts.strategies])
        if self.splits.world:
            largest = max(int(np.bincount(group.images.label).max()) for group in groups.values())
            world = self._encode_real("world", encoder, largest)  # more would be compared with nothing
            groups[REAL] = MeasureGroup(world, fit_to_classes(world, reference), None)
        separate_train = split != "train" and self.splits.train
        train = self._encode_real("train", encoder) if separate_train else reference
        info = EncoderInfo(
            name=encoder.name,
            revision=encoder.revision,
            description=encoder.description,
            knows_classes=fits is not None,
        )
        measures = all_measures(info)
        return MeasureResult(
            encoder=info,
            reference=ReferenceSplit(split=split, images=len(reference)),
            classes=classes,
            columns=tuple(column for measure in measures for column in measure.columns),
            rows=tuple(make_rows(groups, reference, classes, measures)),
            outliers=tuple(synthetic.outliers()),
            copies=synthetic.copies(),
            closest=tuple(synthetic.closest(train)),
            fingerprint=fingerprint,
        )

    def _encoder(self, name: str) -> Encoder:
        if name == OFFLINE:
            if not self.splits.world:
                raise SpecError(
                    "data.splits.world: the offline encoder is trained on it, and no image falls into it; give it a "
                    "share, or name an encoder of the hub"
                )
            return ClassifierEncoder(train_encoder(self.run))
        special = self.run.context.spec.prompts.classes
        names = [
            (special[class_name].name if class_name in special else None) or class_name.replace("_", " ")
            for class_name in self.splits.classes
        ]
        from engine.evaluation.hub_encoder import HubEncoder

        return HubEncoder(name, [f"a photo of a {class_name}" for class_name in names])

    def _encode_real(self, split: str, encoder: Encoder, limit: int | None = None) -> GroupFeatures:
        stream = open_shards(self.run.store / "real" / split, real=True)
        rows = _first(stream.label, np.zeros(len(stream)), limit)
        return encode_samples(stream, rows, encoder, self.progress, f"real images of {split}")

    def _match_pixels(self, images: GroupFeatures) -> tuple[PixelMatches, list[str]]:
        """Find the real image of any split that is most like each image; return also the keys of the real images."""
        keys: list[str] = []
        small = []
        for split in SPLITS:
            if self.splits[split]:
                stream = open_shards(self.run.store / "real" / split, real=True)
                of_split = read_thumbnails(stream, self.progress, f"real images of {split}, for copies")
                keys += of_split[0]
                small.append(of_split[1])
        return match_pixels(images.small, np.concatenate(small), self.progress), keys


def _first(label: NDArray[np.int64], strategy: NDArray[Any], limit: int | None) -> NDArray[np.int64]:
    """Return the positions of the first `limit` images of each class and strategy, ascending."""
    if limit is None:
        return np.arange(len(label))
    order = np.lexsort((label, strategy))  # stable: the images of a class and strategy stay in their order
    changes = (np.diff(label[order]) != 0) | (strategy[order][1:] != strategy[order][:-1])
    return np.sort(np.concatenate([rows[:limit] for rows in np.split(order, np.flatnonzero(changes) + 1)]))
