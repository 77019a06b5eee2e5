"""From what every trial of a sweep says to RUN/sweep.json: each arm with its intervals, and the answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.config.sweep_spec import ORACLE
from engine.data import SPLITS
from engine.errors import RunMismatch
from engine.evaluation.arms import Arm
from engine.evaluation.intervals import BootstrapWeights, Interval, Quality, SweepResult, answer, interval
from engine.evaluation.near_duplicates import Leak
from engine.evaluation.sweep import JUDGED, Sweep
from shards import ShardStream
from shards.storage.manifest import finished_shards

NAME = "sweep.json"
_NAMED = 20

Trials = Mapping[str, Sequence[Mapping[str, Any]]]
"""For each arm, what its trials say, by seed."""


def write_sweep(sweep: Sweep, leaks: Sequence[Leak]) -> str:
    """Write sweep.json from the results of all trials; gives the verdict. Raises RunMismatch where one is missing.

    leaks: held-out images that look like training images, which the report names.
    """
    trials = _trials(sweep)
    labels = {split: _labels(sweep, split) for split in SPLITS}
    masks = any("predicted" not in one["predictions"]["validation"] for one in trials[sweep.arms[0].name])
    quality = {split: _quality(trials, split) for split in JUDGED if len(labels[split])}
    curve = {arm.alpha: arm.name for arm in sweep.arms if arm.alpha is not None}
    others = {arm.name: arm.train.alpha != 0 for arm in sweep.arms if arm.changes is not None}
    oracle = ORACLE if ORACLE in trials else None
    found = answer(curve, oracle, others, quality["validation"], quality.get("test"))
    told = _Told(found, trials, labels["validation"], len(sweep.classes), masks)
    arms = [told.arm(arm) for arm in sweep.arms]
    verdict = found.verdict(" mean IoU" if masks else "")
    content = {
        **_answer(found, verdict),
        "measure": "mean_iou" if masks else "accuracy",
        "arms": [one for one in arms if one["alpha"] is not None],
        "alternatives": [one for one in arms if "settings" in one],
        "oracle_arm": next((one for one in arms if one["name"] == ORACLE), None),
        "classes": sweep.classes,
        "settings": {"seeds": sweep.seeds, **sweep.arms[0].train.model_dump(mode="json", exclude={"alpha", "seed"})},
        "real": {split: len(found) for split, found in labels.items()},
        "near_copies": {"found": len(leaks), "named": [leak.text for leak in leaks[:_NAMED]]},
        "fingerprint": sweep.fingerprint,
    }
    sweep.store.replace(NAME, f"{json.dumps(content, indent=1)}\n".encode())
    for store in (sweep.store, sweep.store / "sweep"):
        store.sweep()
    return verdict


def _trials(sweep: Sweep) -> Trials:
    results = {trial: sweep.result(trial) for trial in sweep.trials()}
    if missing := [trial for trial, found in results.items() if found is None]:
        raise RunMismatch(f"{sweep.store}: {len(missing)} trials have no result; run the same command again")
    return {
        arm.name: [found for trial, found in results.items() if trial.arm == arm.name and found is not None]
        for arm in sweep.arms
    }


def _labels(sweep: Sweep, split: str) -> NDArray[np.int64]:
    """True labels of a real split, in the order of predictions."""
    place = sweep.store / "real" / split
    if not finished_shards(place):
        return np.array([], np.int64)
    return ShardStream(place.url, shuffle=False, real_only=True).index.label


def _quality(trials: Trials, split: str) -> Quality:
    return {
        arm: np.array([one["predictions"][split]["quality"] for one in found], np.float64)
        for arm, found in trials.items()
    }


def _answer(found: SweepResult, verdict: str) -> dict[str, Any]:
    oracle = None if found.oracle is None else found.arms[found.oracle]
    return {
        "verdict": verdict,
        "baseline": found.arms[found.baseline].mean,
        "oracle": None if oracle is None else oracle.mean,
        "alpha_star": found.alpha_star,
        "alpha_star_range": found.alpha_star_range,
        "lift": asdict(found.lifts[found.star]),
        "test_lift": None if found.test_lift is None else asdict(found.test_lift),
        "gap_closed": found.gap_closed,
        "champion": found.champion,
        "rival": None if found.rival is None else {"name": found.rival[0], "behind": asdict(found.rival[1])},
        "baseline_interval": asdict(found.arms[found.baseline]),
        "oracle_interval": None if oracle is None else asdict(oracle),
    }


@dataclass(frozen=True)
class _Told:
    """What sweep.json tells of an arm."""

    answer: SweepResult
    trials: Trials
    labels: NDArray[np.int64]
    classes: int
    masks: bool

    def arm(self, arm: Arm) -> dict[str, Any]:
        trials = self.trials[arm.name]
        scores = [one["scores"]["validation"] for one in trials]
        told = {
            "name": arm.name,
            "alpha": arm.alpha,
            **asdict(self.answer.arms[arm.name]),
            "lift": asdict(self.answer.lifts[arm.name]),
            "points": [float(np.mean(one["predictions"]["validation"]["quality"])) for one in trials],
            "macro_f1": None if self.masks else asdict(self._macro_f1(trials)),
            "recall": [_mean([one["recall"][label] for one in scores]) for label in range(self.classes)],
            "confusion": np.sum([one["confusion"] for one in scores], axis=0).tolist(),
        }
        return told if arm.changes is None else {**told, "settings": arm.changes}

    def _macro_f1(self, trials: Sequence[Mapping[str, Any]]) -> Interval:
        predicted = np.array([one["predictions"]["validation"]["predicted"] for one in trials], np.int64)
        mean = float(np.mean([one["scores"]["validation"]["macro_f1"] for one in trials]))
        draws = BootstrapWeights.of(*predicted.shape)
        return interval(mean, draws.macro_f1(self.labels, predicted, self.classes))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [one for one in values if one is not None]
    return float(np.mean(there)) if there else None
