"""What a sweep found, read back from sweep.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.data.splits import SPLITS
from engine.errors import RunMismatch
from engine.evaluation.intervals import Interval
from shards.storage.retries import FileMissing
from shards.storage.store import Store

_MEASURES = {"accuracy": "accuracy", "mean_iou": "mean IoU"}


@dataclass(frozen=True)
class Arm:
    """The trainings at one alpha, of an alternative or of the oracle, judged on real validation.

    quality:   the measure of the sweep; lift: that above the baseline; points: of each training, in the order of seeds.
    recall:    of each class, the mean over seeds; None for a class that is not there.
    confusion: counts summed over seeds, rows are true classes. settings: of an alternative, what sets it apart.
    """

    name: str
    quality: Interval
    lift: Interval
    points: tuple[float, ...]
    macro_f1: Interval | None
    recall: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    settings: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Its name for the reader."""
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class NearCopies:
    """Held-out images that look like training images: how many there are, and the first ones in words."""

    found: int
    named: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """Qualities and lifts are fractions, 0 to 1; see `intervals.Answer` for the rest.

    measure:  accuracy, or for masks mean IoU. arms: by alpha, in order; 0 is the baseline.
    oracle:   None where the real data has no world split. classes: in the order of recall and confusion.
    settings: seeds, steps, batch_size, and total: images of an arm where that is fixed. real: images of each split.
    """

    verdict: str
    measure: str
    arms: Mapping[float, Arm]
    alternatives: tuple[Arm, ...]
    oracle: Arm | None
    alpha_star: float
    alpha_star_range: tuple[float, float]
    lift: Interval
    test_lift: Interval | None
    gap_closed: float | None
    near_copies: NearCopies
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    real: Mapping[str, int]

    @property
    def heading(self) -> str:
        """The measure, as a heading begins."""
        return f"{self.measure[0].upper()}{self.measure[1:]}"

    @property
    def masks(self) -> bool:
        """Whether the networks were trained for masks."""
        return self.measure == _MEASURES["mean_iou"]

    @property
    def baseline(self) -> Arm:
        """The arm of real images alone."""
        return self.arms[0.0]

    @property
    def chosen(self) -> Arm:
        """The arm at alpha*."""
        return self.arms[self.alpha_star]

    @property
    def best_mixture(self) -> float | None:
        """The best alpha that has synthetic images; None where none was tried."""
        return max((alpha for alpha in self.arms if alpha > 0), key=lambda a: self.arms[a].quality.mean, default=None)


def read_findings(store: Store) -> Findings | None:
    """None where no sweep was run. Raises RunMismatch for a file of another form."""
    try:
        return _findings(json.loads(store.read("sweep.json")))
    except FileMissing:
        return None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RunMismatch(
            f"{store}/sweep.json: damaged ({error!r}); run sweep again, it repeats no finished training"
        ) from None


def _findings(found: dict[str, Any]) -> Findings:
    low, high = found["alpha_star_range"]
    classes = tuple(found["classes"])
    arms = {arm["alpha"]: _arm(arm, len(classes)) for arm in sorted(found["arms"], key=lambda one: float(one["alpha"]))}
    if not {0.0, found["alpha_star"]} <= arms.keys():
        raise ValueError("no arm for alpha 0 or alpha_star")
    return Findings(
        found["verdict"],
        _MEASURES[found["measure"]],
        arms,
        tuple(_arm(arm, len(classes)) for arm in found["alternatives"]),
        None if found["oracle_arm"] is None else _arm(found["oracle_arm"], len(classes)),
        found["alpha_star"],
        (low, high),
        Interval(**found["lift"]),
        None if found["test_lift"] is None else Interval(**found["test_lift"]),
        found["gap_closed"],
        NearCopies(found["near_copies"]["found"], tuple(found["near_copies"]["named"])),
        classes,
        {name: found["settings"][name] for name in ("seeds", "steps", "batch_size", "total")},
        {split: found["real"][split] for split in SPLITS},
    )


def _arm(found: Mapping[str, Any], classes: int) -> Arm:
    confusion = tuple(tuple(int(count) for count in row) for row in found["confusion"])
    if {len(found["recall"]), len(confusion), *map(len, confusion)} != {classes}:
        raise ValueError(f"{found['name']}: recall or confusion are not of {classes} classes")
    return Arm(
        found["name"],
        Interval(found["mean"], found["low"], found["high"]),
        Interval(**found["lift"]),
        tuple(found["points"]),
        None if found["macro_f1"] is None else Interval(**found["macro_f1"]),
        tuple(found["recall"]),
        confusion,
        found.get("settings", {}),
    )
