"""Numbers of real and synthetic images by class."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.run_totals import RunTotals
from engine.run.plan import Plan


@dataclass(frozen=True)
class ClassCount:
    """Images of one class. real: real training images."""

    name: str
    real: int
    planned: int
    kept: int
    failed: int

    @property
    def total(self) -> int:
        """Real and synthetic images."""
        return self.real + self.kept

    @property
    def unfinished(self) -> int:
        """Planned images whose units are not finished."""
        return self.planned - self.kept - self.failed


def count_classes(plan: Plan, totals: RunTotals) -> list[ClassCount]:
    """Return the counts of each class, in label order."""
    return [
        ClassCount(name, real, planned, totals.kept[name], totals.failed[name])
        for name, real, planned in zip(plan.classes, plan.real, plan.quotas, strict=True)
    ]


def largest_classes(sizes: Sequence[int], count: int) -> list[int]:
    """Return the labels of the `count` largest classes, in label order."""
    return sorted(sorted(range(len(sizes)), key=lambda label: -sizes[label])[:count])
