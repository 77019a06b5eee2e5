"""Everything that is measured of a run: the table, the outliers, the copies and the nearest real images."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.splits import SPLITS, Splits
from engine.errors import SpecError
from engine.evaluation.encoders import OFFLINE, ClassifierEncoder, Encoder, open_encoder
from engine.evaluation.image_groups import GroupFeatures, look, open_shards, reference, small_ones, strategies
from engine.evaluation.measure_progress import Progress
from engine.evaluation.measure_rows import REAL, Fit, MeasureGroup, judge, make_rows
from engine.evaluation.neighbours import Copies, find_copies, nearest
from engine.run.leakage import prepare_real
from engine.run.run import Run
from engine.training.classifier.feature_classifier import train_encoder
from shards.storage.manifest import read_all_stats

NAME = "measures.json"
_LISTED = 200
_SHOWN = 3
"""Images of a class whose neighbours are told, and how many neighbours."""


def measure_run(run: Run, encoder_name: str, progress: Progress, most: int | None = None) -> dict[str, Any]:
    """Measure what is finished of a run, and write RUN/measures.json; gives its content.

    What the offline encoder saw of the same shards is not measured again.
    encoder_name: `offline`, or a hub id or folder. most: look at so many images of each class and strategy; all.
    Raises SpecError, DataError, ModelError.
    """
    splits = prepare_real(run)
    fingerprint = _fingerprint(run, encoder_name, most)
    if encoder_name == OFFLINE and (known := _known(run)).get("fingerprint") == fingerprint:
        return known
    made = open_shards(run.shards, real=False)
    encoder = _encoder(run, splits, encoder_name)
    judging = _look_real(run, reference(splits), encoder, progress)
    strategy = strategies(run, made)
    rows = _first(made.label, strategy, most)
    synthetic, strategy = look(made, rows, encoder, progress, "synthetic images"), strategy[rows]
    fit, (real, copies) = judge(synthetic, judging), _copies(run, splits, synthetic, progress)
    groups = _groups([one.name for one in run.recipe.spec.prompts.strategies], synthetic, strategy, fit, copies)
    if splits.world:
        most_of_one = max(int(np.bincount(group.looked.label).max()) for group in groups.values())
        world = _look_real(run, "world", encoder, progress, most_of_one)  # more would be compared with nothing
        groups[REAL] = MeasureGroup(world, judge(world, judging), None)
    trained_on = reference(splits) != "train" and splits.train
    train = _look_real(run, "train", encoder, progress) if trained_on else judging
    content = {
        "encoder": {"name": encoder.name, "revision": encoder.revision, "told": encoder.told},
        "reference": {"split": reference(splits), "images": len(judging)},
        "classes": splits.classes,
        "rows": [row.as_json() for row in make_rows(groups, judging, splits.classes)],
        "outliers": [] if fit is None else _outliers(synthetic, strategy, fit, splits.classes),
        "copies": _copied(synthetic, copies, real, splits.classes),
        "neighbours": _neighbours(synthetic, train, copies, real, splits.classes),
        "fingerprint": fingerprint,
    }
    run.store.replace(NAME, f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode())
    run.store.sweep()
    return content


def _known(run: Run) -> dict[str, Any]:
    return {} if run.store.size(NAME) is None else dict(json.loads(run.store.read(NAME)))


def _fingerprint(run: Run, encoder_name: str, most: int | None) -> str:
    """What the measures follow from: every shard, real and synthetic, and how they are looked at."""
    places = [run.shards, *(run.store / "real" / split for split in SPLITS)]
    hashes = [[file["sha256"] for file in one["files"]] for place in places for one in read_all_stats(place).values()]
    return hashlib.sha256(json.dumps([encoder_name, most, hashes]).encode()).hexdigest()


def _encoder(run: Run, splits: Splits, name: str) -> Encoder:
    spec = run.recipe.spec
    if name == OFFLINE:
        if not splits.world:
            raise SpecError(
                "data.splits.world: the offline encoder is trained on it, and no image falls into it; give it a share, "
                "or name an encoder of the hub"
            )
        return ClassifierEncoder(train_encoder(run))
    special = spec.prompts.classes
    names = [(special[one].name if one in special else None) or one.replace("_", " ") for one in splits.classes]
    return open_encoder(name, [f"a photo of a {one}" for one in names])


def _look_real(run: Run, split: str, encoder: Encoder, progress: Progress, most: int | None = None) -> GroupFeatures:
    stream = open_shards(run.store / "real" / split, real=True)
    rows = _first(stream.label, np.zeros(len(stream)), most)
    return look(stream, rows, encoder, progress, f"real images of {split}")


def _first(label: NDArray[np.int64], strategy: NDArray[Any], most: int | None) -> NDArray[np.int64]:
    """Positions of the first `most` images of each class and strategy, ascending."""
    _, kind = np.unique(strategy, return_inverse=True)
    pairs = label * (kind.max() + 1) + kind
    order = np.argsort(pairs, kind="stable")
    _, starts, counts = np.unique(pairs[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(order[place < (len(order) if most is None else most)])


def _groups(
    names: Sequence[str], synthetic: GroupFeatures, strategy: NDArray[np.str_], fit: Fit | None, copies: Copies
) -> dict[str, MeasureGroup]:
    """The images of each strategy, in the order of the spec; a model that reads no prompts has one of its own."""
    groups = {}
    for name in dict.fromkeys([*names, *strategy.tolist()]):
        where = strategy == name
        if where.any():
            groups[name] = MeasureGroup(synthetic[where], None if fit is None else fit[where], copies.found[where])
    return groups


def _copies(run: Run, splits: Splits, synthetic: GroupFeatures, progress: Progress) -> tuple[list[str], Copies]:
    """The keys of all real images, and which of them synthetic ones are copies of."""
    keys, small = [], []
    for split in SPLITS:
        if splits[split]:
            stream = open_shards(run.store / "real" / split, real=True)
            found = small_ones(stream, progress, f"real images of {split}, for copies")
            keys += found[0]
            small.append(found[1])
    return keys, find_copies(synthetic.small, np.concatenate(small), progress)


def _outliers(
    synthetic: GroupFeatures, strategy: NDArray[np.str_], fit: Fit, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """The outliers of the lowest margins; other: the class that they look like most, but for their own."""
    rows = np.flatnonzero(fit.outlier)
    return [
        {
            "key": str(synthetic.key[row]),
            "class_name": classes[synthetic.label[row]],
            "strategy": str(strategy[row]),
            "margin": float(fit.margin[row]),
            "other": classes[fit.other[row]],
        }
        for row in rows[np.argsort(fit.margin[rows], kind="stable")][:_LISTED]
    ]


def _copied(synthetic: GroupFeatures, copies: Copies, real: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """How many copies there are among how many real images, and the clearest ones."""
    rows = np.flatnonzero(copies.found)
    listed = rows[np.argsort(copies.ratio[rows], kind="stable")][:_LISTED]
    return {
        "found": len(rows),
        "of_real": len(real),
        "images": [_beside(synthetic, row, copies, real, classes) for row in listed.tolist()],
    }


def _neighbours(
    synthetic: GroupFeatures, train: GroupFeatures, copies: Copies, real: Sequence[str], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Of each class the images that are most like a real one by pixels, with the nearest train images by features.

    distance: cosine, 0 to 2.
    """
    found = []
    for label in range(len(classes)):
        rows = np.flatnonzero(synthetic.label == label)
        rows = rows[np.argsort(copies.ratio[rows], kind="stable")][:_SHOWN]
        near = nearest(synthetic.features[rows], train.features, _SHOWN)
        cosine = np.square(near.distance) / (2 * train.features.shape[1])  # of rows of length sqrt(dimensions)
        for row, places, distances in zip(rows.tolist(), near.place, cosine, strict=True):
            named = zip(train.key[places].tolist(), distances.tolist(), strict=True)
            by_features = [{"real": key, "distance": distance} for key, distance in named]
            found.append({**_beside(synthetic, row, copies, real, classes), "by_features": by_features})
    return found


def _beside(
    synthetic: GroupFeatures, row: int, copies: Copies, real: Sequence[str], classes: Sequence[str]
) -> dict[str, Any]:
    """An image and the real one that is most like it by pixels."""
    return {
        "key": str(synthetic.key[row]),
        "class_name": classes[synthetic.label[row]],
        "real": real[copies.place[row]],
        "mirrored": bool(copies.mirrored[row]),
        "ratio": float(copies.ratio[row]),
        "copy": bool(copies.found[row]),
    }
