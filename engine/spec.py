"""The spec: what one YAML file may say, and what it means. Reading files and wording errors is in `specfile`."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]

PLACEHOLDER = re.compile(r"(?<!\{)\{([a-z_][a-z0-9_]*)\}(?!\})")
"""In a template: `{class}` or `{attribute}`. Any other brace is an ordinary character, those of `{{word}}` as well."""


class Strict(BaseModel):
    """A part of a spec: unknown keys and wrong types are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class SplitSpec(Strict):
    """Shares of the real images of every class; they add up to 1."""

    world: Share = 0.5
    """What a generator may learn from. No classifier is trained or judged on it, but for the oracle."""
    train: Share = 0.15
    """What a classifier is trained on, mixed with synthetic images."""
    validation: Share = 0.2
    """What every accuracy is measured on, and alpha* is chosen on."""
    test: Share = 0.15
    """Looked at once, to confirm what was chosen on the validation split."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = self.world + self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"world + train + validation + test must be 1, not {total:g}")
        return self


class DataSpec(Strict):
    """The real images, and how they are divided."""

    source: Literal["digits", "imagefolder", "parquet", "cifar10", "webdataset"]
    """digits: scikit-learn's handwritten digits, which need no file. imagefolder: PATH/<class>/<image>. parquet: one
    file or a folder of them, a struct column {bytes, path} and an integer label. cifar10: torchvision's. webdataset:
    tars."""
    path: str | None = None
    """File or folder of the images; none for digits."""
    held_out: str | None = None
    """The data set's own test set, of the same form: validation and test come from it alone, world and train from
    `path` alone. For cifar10 this is always so, and is not said here."""
    image_column: str = "img"
    """Of parquet: the column of the encoded image."""
    label_column: str = "label"
    """Of parquet: the column of the class index."""
    splits: SplitSpec = SplitSpec()
    """Shares of the four splits. With a held-out set, world:train and validation:test divide each part."""
    train_per_class: Count | None = None
    """Keep only so many images of each class in train: a shortage, made on purpose."""

    @model_validator(mode="after")
    def _has_a_path(self) -> Self:
        if (self.source == "digits") != (self.path is None):
            raise ValueError("source 'digits' takes no path" if self.path else f"source {self.source!r} needs a path")
        if self.held_out is not None and self.source in ("digits", "cifar10"):
            raise ValueError(f"source {self.source!r} takes no held_out")
        return self


class PlanSpec(Strict):
    """How many images of each class are made. Exactly one of per_class, total and balance_to."""

    per_class: Count | None = None
    """The same number for each class."""
    total: Count | None = None
    """So many in all, divided by `weights`."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """With total: weight of a class by its name; a class that is not named weighs 1."""
    balance_to: Literal["max", "median"] | Count | None = None
    """Fill every class up to the largest, the median, or this number of images, real ones counted in."""
    only_below: Count | None = None
    """Make nothing for a class that has at least so many real images."""
    cap: Count | None = None
    """Make at most so many for any class."""
    overrides: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Exactly so many for the class of this name, whatever the rest says."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """How often a slot whose image a filter rejects is tried with another seed before it is recorded as failed."""

    @model_validator(mode="after")
    def _one_quota(self) -> Self:
        given = [name for name in ("per_class", "total", "balance_to") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of per_class, total and balance_to, not {' and '.join(given) or 'none'}"
            )
        if self.weights and self.total is None:
            raise ValueError("weights divide a total: give total as well")
        return self


class ClassPrompts(Strict):
    """What differs for one class."""

    name: str | None = None
    """What `{class}` becomes; the class's own name if none."""
    templates: tuple[str, ...] | None = Field(None, min_length=1)
    """Instead of the templates for all classes."""
    attributes: dict[str, tuple[str, ...]] = {}
    """Instead of the values of these attributes for all classes."""
    negative: str | None = None
    """Instead of the negative prompt for all classes."""


class PromptsSpec(Strict):
    """Templates and attributes. A class's images cover templates, values and pairs of them evenly."""

    templates: tuple[str, ...] = Field(("a photo of a {class}",), min_length=1)
    """Texts with `{class}` and `{attribute}`; the images of a class rotate through them."""
    attributes: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Values of each attribute."""
    negative: str = ""
    """Negative prompt."""
    classes: dict[str, ClassPrompts] = {}
    """Exceptions by class name."""

    @model_validator(mode="after")
    def _placeholders_fit(self) -> Self:
        groups = [("templates", self.templates, set(self.attributes), set(self.attributes))]
        for name, special in self.classes.items():
            known = {*self.attributes, *special.attributes}
            groups.append((f"classes.{name}", special.templates or self.templates, known, set(special.attributes)))
        for place, templates, known, own in groups:
            used = {found for template in templates for found in PLACEHOLDER.findall(template)} - {"class"}
            if used - known:
                raise ValueError(f"{place} use {sorted(used - known)}, but the attributes are {sorted(known)}")
            if own - used:
                raise ValueError(f"no template of {place} uses the attributes {sorted(own - used)}")
        return self


class ModelSpec(Strict):
    """The generator and its settings."""

    source: str
    """A folder in the diffusers format, a hub id, or `embedded/digits`, which ships with Shardmill."""
    revision: str | None = None
    """Of a hub model: branch, tag or commit."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the device has the instructions; else fp16 on a GPU, fp32 on a CPU."""
    steps: Count = 20
    """Denoising steps."""
    guidance: Annotated[float, Field(ge=0)] = 0.0
    """Classifier-free guidance scale; up to 1 it is off, and costs nothing."""
    batch_size: Count = 16
    """Images of a forward pass. It is part of the result: the last batch of a unit is padded, never shrunk."""
    width: Count | None = None
    """Pixels; the model's own if none."""
    height: Count | None = None
    """Pixels; the model's own if none."""


class BlankFilter(Strict):
    """Rejects an image that is nearly of one colour, as a failed decode is."""

    name: Literal["blank"]
    min_std: Annotated[float, Field(gt=0)] = 4.0
    """Smallest standard deviation over all pixels and channels, on the scale 0 to 255."""


class ImageSpec(Strict):
    """How an image is stored."""

    format: Literal["png", "jpg", "webp"] = "png"
    """png is lossless; jpg and webp take `quality`."""
    size: Annotated[int, Field(ge=4, le=8192)] | None = None
    """Pixels of both sides, resized with antialiasing on the device; as generated if none."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Of jpg and webp."""


class OutputSpec(Strict):
    """The shards."""

    samples_per_shard: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Slots of a unit, so images of a shard where none fails."""
    image: ImageSpec = ImageSpec()
    """Form of every image."""


class ClusterSpec(Strict):
    """Where it runs. Nothing here changes a byte of the result, but for cpus_per_actor where there is no GPU."""

    min_actors: Count = 1
    """Actors asked for at once; they wait for the autoscaler if need be."""
    max_actors: Count | None = None
    """Actors at most; as many as the cluster has room for if none."""
    gpus_per_actor: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of an actor; a fraction shares one; 0 computes on the CPU."""
    cpus_per_actor: Count = 1
    """Cores of an actor, which are also its torch threads on a CPU."""
    unit_attempts: Count = 3
    """How often a unit may fail by its own doing before it is quarantined."""
    unit_timeout_s: Annotated[float, Field(gt=0)] = 10_800.0
    """Seconds that a unit may take, from its lease to an actor whose model is loaded; then its process is ended."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_actors is not None and self.max_actors < self.min_actors:
            raise ValueError(f"max_actors {self.max_actors} is less than min_actors {self.min_actors}")
        if self.gpus_per_actor > 1 and self.gpus_per_actor % 1:
            raise ValueError("gpus_per_actor above 1 must be a whole number")
        return self


class SweepSpec(Strict):
    """The classifier that asks whether it helped, trained at each alpha and seed for the same number of steps."""

    alphas: tuple[Share, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    """Synthetic fractions; 0 is always tried as well, for it is the baseline."""
    seeds: Count = 3
    """Trainings of each arm, with seeds 0, 1, 2, ..."""
    steps: Count = 400
    """Optimizer steps of each training."""
    batch_size: Count = 64
    """Images of a step, real and synthetic together."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak of the one-cycle schedule of AdamW."""


class Spec(Strict):
    """One run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    """For titles."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Root of every seed of the run."""
    data: DataSpec | None = None
    """The real data; without it a run generates, but cannot balance, and cannot say whether it helped."""
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    """Class names in label order; only without `data`, which has its own."""
    plan: PlanSpec
    prompts: PromptsSpec = PromptsSpec()
    model: ModelSpec
    filters: tuple[BlankFilter, ...] = (BlankFilter(name="blank"),)
    """Applied in this order; the first that rejects gives the reason."""
    output: OutputSpec = OutputSpec()
    cluster: ClusterSpec = ClusterSpec()
    sweep: SweepSpec = SweepSpec()

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
