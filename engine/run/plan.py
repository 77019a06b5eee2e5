"""The plan: how many images of each class to make, and the content of every slot. Pure.

Slot i follows from (spec, real counts, i) alone and is computed on demand, so 100 million slots need no memory. A keyed
permutation assigns slots to classes, so that every shard has a fair mixture of classes.
"""

import difflib
import hashlib
import json
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from engine.apportion import apportion
from engine.config.spec import PlanSpec, Spec
from engine.config.spec_file import identity
from engine.errors import SpecError
from engine.seeds import permute, sample_seed
from engine.types import Slot, WorkUnit


@dataclass(frozen=True)
class Plan:
    """The quotas of a run and its units."""

    classes: tuple[str, ...]  # names in label order
    real: tuple[int, ...]  # number of real train images of each class
    quotas: tuple[int, ...]  # number of synthetic images to make of each class
    seed: int
    samples_per_shard: int
    digest: str  # SHA-256 of everything that decides a byte of the run

    @cached_property
    def total(self) -> int:
        """Number of slots."""
        return sum(self.quotas)

    @cached_property
    def n_units(self) -> int:
        """Number of units, and of shards."""
        return -(-self.total // self.samples_per_shard)

    def unit(self, number: int) -> WorkUnit:
        """Return unit `number`, 0 <= number < n_units."""
        if not 0 <= number < self.n_units:
            raise IndexError(f"unit {number} of {self.n_units}")
        start = number * self.samples_per_shard
        return WorkUnit(number, start, min(start + self.samples_per_shard, self.total))

    def shard_name(self, number: int) -> str:
        """Return the base name of a unit's files, like 00012."""
        return f"{number:0{self._unit_digits}d}"

    def slots(self, unit: WorkUnit) -> Iterator[Slot]:
        """Yield the slots of a unit, in order."""
        return (self.slot(index) for index in range(unit.start, unit.stop))

    def slot(self, index: int) -> Slot:
        """Return slot `index`, 0 <= index < total."""
        unit, position = divmod(index, self.samples_per_shard)
        position_by_class = permute(index, self.total, self.seed)
        label = bisect_right(self._ends, position_by_class)
        ordinal = position_by_class - (self._ends[label] - self.quotas[label])
        key = f"{self.shard_name(unit)}{position:0{self._slot_digits}d}"
        return Slot(index, unit, label, ordinal, key)

    def slot_of_key(self, key: str) -> Slot:
        """Return the slot of a sample's key. Raises KeyError."""
        width = self._unit_digits
        if key.isascii() and key.isdigit() and len(key) == width + self._slot_digits:
            position = int(key[width:])
            index = int(key[:width]) * self.samples_per_shard + position
            if position < self.samples_per_shard and index < self.total:
                return self.slot(index)
        raise KeyError(key)

    def seed_of(self, slot: Slot, attempt: int) -> int:
        """Return the seed of an attempt at a slot."""
        return sample_seed(self.seed, slot.index, attempt)

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        return tuple(accumulate(self.quotas))

    @cached_property
    def _unit_digits(self) -> int:
        return max(5, len(str(self.n_units - 1)))

    @cached_property
    def _slot_digits(self) -> int:
        return max(4, len(str(self.samples_per_shard - 1)))


def make_plan(spec: Spec, classes: Sequence[str], real: Sequence[int]) -> Plan:
    """Compute the quotas.

    real: number of real train images of each class; zeros without real data. Raises SpecError where the spec names an
    unknown class, or where there is nothing to make.
    """
    _check_class_names(spec, classes)
    quotas = tuple(_quotas(spec.plan, classes, real))
    if not sum(quotas):
        raise SpecError("plan: there is nothing to make; the real data has enough of every class, or all quotas are 0")
    return plan_of(spec, classes, real, quotas, {})


def plan_of(
    spec: Spec, classes: Sequence[str], real: Sequence[int], quotas: Sequence[int], assets: Mapping[str, str]
) -> Plan:
    """Return the plan of known quotas. assets: SHA-256 of each file that the spec names."""
    # Keys keep their order: in a palette it decides the class indices, in attributes their pairing.
    content = json.dumps([identity(spec), list(classes), list(quotas), dict(assets)])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Plan(tuple(classes), tuple(real), tuple(quotas), spec.seed, spec.output.samples_per_shard, digest)


def _quotas(plan: PlanSpec, classes: Sequence[str], real: Sequence[int]) -> Iterator[int]:
    for name, count, quota in zip(classes, real, _uncapped(plan, classes, real), strict=True):
        if plan.only_below is not None and count >= plan.only_below:
            quota = 0
        if plan.cap is not None:
            quota = min(quota, plan.cap)
        yield plan.overrides.get(name, quota)


def _uncapped(plan: PlanSpec, classes: Sequence[str], real: Sequence[int]) -> list[int]:
    if plan.per_class is not None:
        return [plan.per_class] * len(classes)
    if plan.total is not None:
        weights = [plan.weights.get(name, 1.0) for name in classes]
        if not any(weights):
            raise SpecError("plan.weights: all are 0")
        return apportion(plan.total, weights)
    if plan.balance_to == "max":
        target = max(real)
    elif plan.balance_to == "median":
        target = round(statistics.median(real))
    else:
        target = int(plan.balance_to or 0)
    return [max(0, target - count) for count in real]


def _check_class_names(spec: Spec, classes: Sequence[str]) -> None:
    names_by_place: dict[str, Iterable[str]] = {
        "plan.weights": spec.plan.weights,
        "plan.overrides": spec.plan.overrides,
        "prompts.classes": spec.prompts.classes,
        **spec.model.named_classes,
    }
    for place, names in names_by_place.items():
        for name in names:
            if name not in classes:
                near = difflib.get_close_matches(name, classes, n=1)
                shown = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
                advice = f"did you mean {near[0]!r}?" if near else f"the classes are {shown}"
                raise SpecError(f"{place}: there is no class {name!r}; {advice}")
