"""How different the images of each prompt strategy are from one another, side by side and beside real ones.

Distances are between features of an encoder, here a classifier that was trained on the real world split alone. Every
group is measured on equally many images of each class, for both measures depend on that number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.errors import SpecError
from engine.run.leakage import prepare_real
from engine.run.run import Run
from engine.training.classifier.feature_classifier import train_encoder
from shards import ShardStream
from shards.storage.manifest import read_rows
from shards.storage.store import Store

if TYPE_CHECKING:
    from engine.training.classifier.network_factory import Network

Features = NDArray[np.float64]
"""(images, dimensions), every row of length 1."""

REAL = "real (world)"
_MOST = 300
"""Images of a class and group that are looked at."""
_BATCH = 256


@dataclass(frozen=True)
class Diversity:
    """Of one group of images; each measure is the mean over classes.

    group:    run and strategy, or REAL. images: of the whole group.
    prompts:  distinct texts of a class. combinations: distinct combinations of attributes that they tell.
    distance: mean cosine distance between two images of a class, 0 to 2.
    vendi:    Vendi score: how many entirely different images would be as diverse, 1 to `looked_at`.
    """

    group: str
    images: int
    looked_at: int
    prompts: float
    combinations: float
    distance: float
    vendi: float


def mean_distance(features: Features) -> float:
    """Mean cosine distance of all pairs of two different rows; 0 for less than two."""
    n = len(features)
    if n < 2:
        return 0.0
    return float(1 - (np.square(features.sum(axis=0)).sum() - n) / (n * (n - 1)))


def vendi_score(features: Features) -> float:
    """Exponential of the entropy of the similarity matrix's eigenvalues (Friedman and Dieng, 2023)."""
    # The smaller Gram matrix has the same eigenvalues but for zeros.
    values = np.linalg.eigvalsh(features.T @ features / len(features))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def compare(runs: Mapping[str, Run]) -> list[Diversity]:
    """Every strategy of every run, by the name that it is to be called, and the real images of the first run's world.

    The encoder is trained on that world. Raises what `prepare_real` does, and SpecError where a run is not finished,
    or differs in its classes.
    """
    first = next(iter(runs.values()))
    if any(run.recipe.plan.classes != first.recipe.plan.classes for run in runs.values()):
        raise SpecError("diversity: the runs have different classes; compare runs of the same data")
    if unfinished := next((run for run in runs.values() if run.pending()), None):
        raise SpecError(f"{unfinished.store}: {len(unfinished.pending())} units are not finished; run generate first")
    prepare_real(first)
    groups = {REAL: _Group(first.store / "real" / "world", "")}
    for name, run in runs.items():
        for strategy in run.recipe.spec.prompts.strategies:
            groups[f"{name}: {strategy.name}"] = _Group(run.shards, strategy.name)
    classes = range(len(first.recipe.plan.classes))
    count = min(_MOST, *(len(group.rows(label)) for group in groups.values() for label in classes))
    encoder = train_encoder(first)
    return [_measure(name, group, classes, count, encoder) for name, group in groups.items()]


class _Group:
    """The images of a folder of shards that one strategy made; "" stands for all."""

    def __init__(self, shards: Store, strategy: str) -> None:
        columns = ["label", "prompt", *(["strategy", "attributes"] if strategy else [])]
        self._told = read_rows(shards, columns)
        self._chosen = [i for i, row in enumerate(self._told) if row.get("strategy", "") == strategy]
        self._stream = ShardStream(shards.url, shuffle=False)

    def __len__(self) -> int:
        return len(self._chosen)

    def rows(self, label: int) -> list[int]:
        """Positions of the images of a class."""
        return [i for i in self._chosen if self._told[i]["label"] == label]

    def told(self, label: int, field: str) -> int:
        """How many different texts a field of the images of a class holds."""
        return len({self._told[i].get(field, "") for i in self.rows(label)})

    def features(self, positions: Sequence[int], encoder: "Network") -> Features:
        """What the encoder sees in these images."""
        parts = [self._stream.read(positions[i : i + _BATCH]).image for i in range(0, len(positions), _BATCH)]
        return np.concatenate([encoder.features(part) for part in parts])


def _measure(name: str, group: _Group, classes: range, count: int, encoder: "Network") -> Diversity:
    features = [group.features(group.rows(label)[:count], encoder) for label in classes]
    return Diversity(
        group=name,
        images=len(group),
        looked_at=count,
        prompts=float(np.mean([group.told(label, "prompt") for label in classes])),
        combinations=float(np.mean([group.told(label, "attributes") for label in classes])),
        distance=float(np.mean([mean_distance(one) for one in features])),
        vendi=float(np.mean([vendi_score(one) for one in features])),
    )
