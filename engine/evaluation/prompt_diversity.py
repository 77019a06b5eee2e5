"""Diversity of the images of each prompt strategy, beside that of real images, by features of the offline encoder.

Both measures depend on the number of images, so each group is measured on equally many images of each class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.errors import SpecError
from engine.evaluation.measure_result import REAL
from engine.run.leakage import prepare_real
from engine.run.run import Run
from engine.training.classifier.classifier_job import train_encoder
from shards import ShardStream
from shards.storage.manifest import read_rows
from shards.storage.store import Store

if TYPE_CHECKING:
    from engine.training.classifier.network_factory import Network

Features = NDArray[np.float64]
"""(images, dimensions), every row of length 1."""

_LIMIT = 300
"""Images of a class and group that are encoded."""
_BATCH = 256


@dataclass(frozen=True)
class Diversity:
    """The diversity of one group of images, a strategy of a run or REAL; each value is the mean over classes.

    encoded: images of each class that were compared. combinations: distinct attribute sets.
    distance: mean cosine distance of two images, 0 to 2.
    vendi: number of entirely different images that would be as diverse, 1 to `encoded`.
    """

    group: str
    images: int
    encoded: int
    prompts: float
    combinations: float
    distance: float
    vendi: float


def mean_distance(features: Features) -> float:
    """Return the mean cosine distance of all pairs of two different rows; 0 for less than two rows."""
    n = len(features)
    if n < 2:
        return 0.0
    return float(1 - (np.square(features.sum(axis=0)).sum() - n) / (n * (n - 1)))


def vendi_score(features: Features) -> float:
    """Return the exponential of the entropy of the similarity matrix's eigenvalues (Friedman and Dieng, 2023)."""
    # The smaller Gram matrix has the same eigenvalues except zeros.
    values = np.linalg.eigvalsh(features.T @ features / len(features))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def compare_diversity(runs: Mapping[str, Run]) -> list[Diversity]:
    """Measure the real images of the first run's world split, then every strategy of every run.

    runs: by the name to show. The encoder is trained on that world split. Raises what `prepare_real` raises, and
    SpecError if a run is not finished or the runs have different classes.
    """
    first = next(iter(runs.values()))
    if any(run.context.plan.classes != first.context.plan.classes for run in runs.values()):
        raise SpecError("diversity: the runs have different classes; compare runs of the same data")
    if unfinished := next((run for run in runs.values() if run.pending()), None):
        raise SpecError(f"{unfinished.store}: {len(unfinished.pending())} units are not finished; run generate first")
    prepare_real(first)
    classes = len(first.context.plan.classes)
    groups = {REAL: _PromptGroup(first.store / "real" / "world", "", classes)}
    for name, run in runs.items():
        for strategy in run.context.spec.prompts.strategies:
            groups[f"{name}: {strategy.name}"] = _PromptGroup(run.shards, strategy.name, classes)
    count = min(_LIMIT, *(len(of_class) for group in groups.values() for of_class in group.positions))
    encoder = train_encoder(first)
    return [group.measure(name, count, encoder) for name, group in groups.items()]


class _PromptGroup:
    """The images of a folder of shards that one strategy made; the strategy "" stands for all images."""

    def __init__(self, shards: Store, strategy: str, classes: int) -> None:
        self._rows = read_rows(shards, ["label", "prompt", *(["strategy", "attributes"] if strategy else [])])
        self._stream = ShardStream(shards.url, shuffle=False)
        self.positions: list[list[int]] = [[] for _ in range(classes)]
        for position, row in enumerate(self._rows):
            if row.get("strategy", "") == strategy:
                self.positions[row["label"]].append(position)

    def measure(self, name: str, count: int, encoder: "Network") -> Diversity:
        features = [self._features(of_class[:count], encoder) for of_class in self.positions]
        return Diversity(
            group=name,
            images=sum(map(len, self.positions)),
            encoded=count,
            prompts=self._distinct("prompt"),
            combinations=self._distinct("attributes"),
            distance=float(np.mean([mean_distance(of_class) for of_class in features])),
            vendi=float(np.mean([vendi_score(of_class) for of_class in features])),
        )

    def _distinct(self, field: str) -> float:
        """Return the number of distinct values of a field, mean over classes."""
        return float(np.mean([len({self._rows[i].get(field, "") for i in of_class}) for of_class in self.positions]))

    def _features(self, positions: Sequence[int], encoder: "Network") -> Features:
        batches = [self._stream.read(positions[i : i + _BATCH]).image for i in range(0, len(positions), _BATCH)]
        return np.concatenate([encoder.features(batch) for batch in batches])
