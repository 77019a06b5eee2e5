"""What a sweep found, read back from sweep.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import RunMismatch
from engine.intervals import Interval
from engine.sources import SPLITS
from shards.retries import Missing
from shards.store import Store


@dataclass(frozen=True)
class Arm:
    """The trainings at one alpha, or of the oracle. seeds: accuracy of each training, in the order of seeds."""

    accuracy: Interval
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Findings:
    """Accuracies are fractions of real validation images, 0 to 1; see `intervals.Answer` for the rest.

    arms:     by alpha, in order; 0 is the baseline. settings: seeds, steps and batch_size. real: images of each split.
    """

    verdict: str
    arms: Mapping[float, Arm]
    oracle: Arm
    alpha_star: float
    alpha_star_range: tuple[float, float]
    lift: Interval
    test_lift: Interval | None
    gap_closed: float | None
    settings: Mapping[str, Any]
    real: Mapping[str, int]

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
        return max((alpha for alpha in self.arms if alpha > 0), key=lambda a: self.arms[a].accuracy.mean, default=None)


def read_findings(store: Store) -> Findings | None:
    """None where no sweep was run. Raises RunMismatch for a file of another form."""
    try:
        return _findings(json.loads(store.read("sweep.json")))
    except Missing:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunMismatch(
            f"{store}/sweep.json: damaged ({error!r}); run sweep again, it repeats no finished training"
        ) from None


def _findings(found: dict[str, Any]) -> Findings:
    low, high = found["alpha_star_range"]
    seeds: dict[float | None, list[float]] = {}
    for point in sorted([*found["points"], *found["oracle_points"]], key=lambda point: int(point["seed"])):
        seeds.setdefault(point["alpha"], []).append(point["accuracy"])
    arms = {
        arm["alpha"]: Arm(Interval(arm["mean"], arm["low"], arm["high"]), tuple(seeds.get(arm["alpha"], ())))
        for arm in sorted(found["arms"], key=lambda arm: float(arm["alpha"]))
    }
    if not {0.0, found["alpha_star"]} <= arms.keys():
        raise ValueError("no arm for alpha 0 or alpha_star")
    return Findings(
        found["verdict"],
        arms,
        Arm(Interval(**found["oracle_interval"]), tuple(seeds.get(None, ()))),
        found["alpha_star"],
        (low, high),
        Interval(**found["lift"]),
        None if found["test_lift"] is None else Interval(**found["test_lift"]),
        found["gap_closed"],
        {name: found["settings"][name] for name in ("seeds", "steps", "batch_size")},
        {split: found["real"][split] for split in SPLITS},
    )
