"""The spec of a run as a whole."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.condition_spec import ConditionSpec
from engine.config.data_spec import DataSpec, Palette
from engine.config.filter_settings import FILTERS, FilterSettings
from engine.config.model_settings import GENERATORS, ModelSettings
from engine.config.output_spec import OutputSpec
from engine.config.prompts_spec import PromptsSpec
from engine.config.strict import Count, Share, Strict
from engine.config.train_spec import Positive, TrainSpec

_EQUAL = ("name", "seed", "steps", "epochs", "batch_size", "workers", "total")
"""Keys of `train` that are the same for all arms of a sweep, or that the sweep sets."""


class BudgetSpec(Strict):
    """The most that a run may cost. When it is spent, the run finishes the units in progress and stops; with a larger
    budget the same command resumes it. A budget changes no byte of the result."""

    gpu_hours: Positive | None = None
    """Most GPU hours over all commands. For actors on CPUs, most actor hours."""
    dollars: Positive | None = None
    """Most dollars; needs a price."""
    price_per_gpu_hour: Positive | None = None
    """Price in dollars of a GPU hour, or of an actor hour for actors on CPUs, for the hours of this command."""

    @model_validator(mode="after")
    def _dollars_have_a_price(self) -> Self:
        if self.dollars is not None and self.price_per_gpu_hour is None:
            raise ValueError("dollars needs price_per_gpu_hour, which converts GPU hours to dollars")
        return self


class PlanSpec(Strict):
    """The number of images of each class. Exactly one of per_class, total and balance_to is set."""

    per_class: Count | None = None
    """The same number for each class."""
    total: Count | None = None
    """Number of all images, divided by `weights`."""
    weights: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = {}
    """For total: weights by class name; 1 for a class that is not named."""
    balance_to: Literal["max", "median"] | Count | None = None
    """Fill every class up to the largest class, the median class, or this number of images. Real images count."""
    only_below: Count | None = None
    """Make no image of a class with at least this many real images."""
    cap: Count | None = None
    """Most images of any class."""
    overrides: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Exact number of images by class name; it overrides everything else."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts at a slot, each with another seed, before it is recorded as failed."""

    @model_validator(mode="after")
    def _one_quota(self) -> Self:
        quotas = [name for name in ("per_class", "total", "balance_to") if getattr(self, name) is not None]
        if len(quotas) != 1:
            raise ValueError(
                f"give exactly one of per_class, total and balance_to, not {' and '.join(quotas) or 'none'}"
            )
        if self.weights and self.total is None:
            raise ValueError("weights divide a total: give total as well")
        return self


ORACLE = "oracle"
"""Name of the arm that has all real images of the world split."""
ArmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class SweepSpec(Strict):
    """The `train` section at each alpha and seed with equal steps, and alternatives to synthetic images."""

    alphas: tuple[Share, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Synthetic fractions. The baseline 0 is always included."""
    seeds: Count = 3
    """Trainings of each arm, with seeds 0, 1, 2, ..."""
    fixed: Literal["real", "total"] = "real"
    """What is equal at every alpha. real: all real train images are used, together with as many synthetic ones as there
    are. total: the number of images equals that of the real train images, so each alpha has fewer real ones."""
    arms: dict[ArmName, dict[str, Any]] = {}
    """Alternatives by name, each with what it changes in `train`; without synthetic images unless it sets alpha:
    {oversampling: {balance: oversample}, class_weights: {balance: class_weights}}."""


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
    filters: tuple[Annotated[FilterSettings, FILTERS], ...] = Field(default_factory=FILTERS.default_settings)
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
