"""The spec of a run as a whole."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.config.budget_spec import BudgetSpec
from engine.config.cluster_spec import ClusterSpec
from engine.config.condition_spec import ConditionSpec
from engine.config.data_spec import DataSpec
from engine.config.filter_settings import FILTERS, FilterSettings, default_filters
from engine.config.model_settings import GENERATORS, ModelSettings
from engine.config.output_spec import OutputSpec
from engine.config.palette import Palette
from engine.config.plan_spec import PlanSpec
from engine.config.prompts_spec import PromptsSpec
from engine.config.strict import Strict
from engine.config.sweep_spec import ORACLE, SweepSpec
from engine.config.train_spec import TrainSpec

_EQUAL = ("name", "seed", "steps", "epochs", "batch_size", "workers", "total")
"""Keys of `train` that are the same for all arms of a sweep, or that the sweep sets."""


class Spec(Strict):
    """The spec of a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    """Title of the run."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed from which all seeds of the run follow."""
    data: DataSpec | None = None
    """The real data. Without it a run only generates: it cannot balance classes or measure a gain."""
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    """Class names in label order; only without `data`, which has class names."""
    plan: PlanSpec
    prompts: PromptsSpec = PromptsSpec()
    model: Annotated[ModelSettings, GENERATORS]
    condition: ConditionSpec | None = None
    """Images or layouts that the generator follows; for generators that need them."""
    filters: tuple[Annotated[FilterSettings, FILTERS], ...] = Field(default_factory=default_filters)
    """Filters in their order; the first that rejects an image gives the reason."""
    output: OutputSpec = OutputSpec()
    cluster: ClusterSpec = ClusterSpec()
    budget: BudgetSpec = BudgetSpec()
    sweep: SweepSpec = SweepSpec()
    train: TrainSpec = Field(default_factory=TrainSpec)

    @property
    def mask_palette(self) -> Palette | None:
        """Colours of the classes that masks have, in the order of their indices; None where there are no masks."""
        palette: Palette | None = getattr(self.condition, "palette", None)
        return palette or (None if self.data is None else self.data.mask_palette)

    @model_validator(mode="after")
    def _model_gets_what_it_takes(self) -> Self:
        self.model.check_condition(self.condition)
        if not self.model.takes_prompts and self.prompts != PromptsSpec():
            raise ValueError(f"model.kind {self.model.kind!r} reads no prompts: leave them out")
        if self.condition is not None and self.condition.source == "real" and self.data is None:
            raise ValueError("condition.source 'real' takes the images of data: give data")
        return self

    @model_validator(mode="after")
    def _masks_mean_the_same(self) -> Self:
        real = None if self.data is None else self.data.mask_palette
        if self.condition is not None and self.condition.source == "masks" and real is None:
            raise ValueError("condition.source 'masks' takes those of the real images: give data.masks")
        if real is not None and list(real) != list(self.mask_palette or ()):
            raise ValueError("condition.palette and data.masks.palette name other classes, or in another order")
        return self

    @model_validator(mode="after")
    def _classes_are_known(self) -> Self:
        if (self.data is None) == (self.classes is None):
            raise ValueError("give either data, which has its classes, or classes")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes holds a name twice")
        if self.data is None and (self.plan.balance_to is not None or self.plan.only_below is not None):
            raise ValueError("plan.balance_to and plan.only_below count real images: give data")
        if len({part.name for part in self.filters}) < len(self.filters):
            raise ValueError("filters holds a name twice")
        return self

    @model_validator(mode="after")
    def _arms_are_trainings(self) -> Self:
        for name, changes in self.sweep.arms.items():
            if name == ORACLE:
                raise ValueError(f"sweep.arms.{name}: every sweep has an arm of this name; choose another")
            if same := [key for key in changes if key in _EQUAL]:
                raise ValueError(f"sweep.arms.{name}.{same[0]} is the same for every arm: leave it out")
            try:
                changed = self.train.changed(changes)
            except ValueError as error:
                raise ValueError(f"sweep.arms.{name}.{error}") from None
            if changed.model.labels_pixels != self.train.model.labels_pixels:
                raise ValueError(f"sweep.arms.{name}.model: masks cannot be compared with classes; choose another")
        return self
