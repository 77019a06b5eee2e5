"""Settings of the training of a classifier, or of a network for masks, from shards."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from engine.config.classifier_settings import CLASSIFIERS, Classifier
from engine.config.strict import Count, Share, Strict

DEFAULT_STEPS = 400
Positive = Annotated[float, Field(gt=0)]


def _number(value: object) -> object:
    # PyYAML reads 1e-5, without a dot, as text.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


NotNegative = Annotated[float, BeforeValidator(_number), Field(ge=0)]


class Change(Strict):
    """A random change of some images; its strength is drawn for each image, uniformly up to `strength`."""

    probability: Share = 0.5
    """Probability that an image is changed."""
    strength: Positive
    """Largest strength."""


class AugmentSpec(Strict):
    """Random changes of the training images, in this order, drawn for each image of each step. None by default."""

    horizontal_flip: Share = 0.0
    """Probability."""
    rotation: Change | None = None
    """In either direction; strength in degrees."""
    brightness: Change | None = None
    """By a factor of 1 - strength to 1 + strength."""
    contrast: Change | None = None
    """By a factor of 1 - strength to 1 + strength."""
    saturation: Change | None = None
    """By a factor of 1 - strength to 1 + strength."""
    hue: Change | None = None
    """Turned by -strength to +strength of the colour circle; strength is at most 0.5."""
    blur: Change | None = None
    """Gaussian; strength is its standard deviation in pixels."""
    noise: Change | None = None
    """Gaussian, for each pixel and channel; strength is its standard deviation on the scale 0 to 255."""

    @model_validator(mode="after")
    def _strengths_are_in_range(self) -> Self:
        limits = {"rotation": 180.0, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5, "blur": 8.0}
        for name, limit in limits.items():
            change: Change | None = getattr(self, name)
            if change is not None and change.strength > limit:
                raise ValueError(f"{name}.strength {change.strength:g} is more than {limit:g}")
        return self


class TrainSpec(Strict):
    """One training on the run's real train images mixed with its synthetic ones, by AdamW."""

    name: str = Field("classifier", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Results are written to RUN/train/NAME."""
    model: Classifier = Field(default_factory=lambda: CLASSIFIERS.default_settings()[0])
    """A classifier by its kind, like small_cnn or resnet18, or a mapping with its settings, like {kind: vit, patch: 8}.
    Kinds are small_cnn; vit; unet, for masks; and the classifiers of torchvision by their names."""
    weights: str | None = None
    """First weights: imagenet, from torch's hub cache or its server; or a .safetensors or .pth file. The last layer is
    new if its size differs. None: random, from `seed`."""
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    """Side in pixels that images are scaled and cut to. None: the size in the shards."""
    steps: Count | None = None
    """Optimizer steps; 400 if neither `steps` nor `epochs` is given."""
    epochs: Positive | None = None
    """Instead of `steps`: passes over the real images, or with alpha 1 over the synthetic ones."""
    batch_size: Count = 64
    """Images of a step, real and synthetic together, over all workers."""
    alpha: Share | None = None
    """Synthetic fraction of every batch. None: all images, real and synthetic, are used equally often."""
    total: Count | None = None
    """Number of images to train on, a fraction alpha of them synthetic; every class keeps its share. None: all."""
    balance: Literal["none", "oversample", "class_weights"] = "none"
    """Treatment of rare classes, besides or instead of images for them. oversample: every class is drawn equally often.
    class_weights: the loss of an image is divided by the frequency of its class."""
    learning_rate: Annotated[NotNegative, Field(gt=0)] = 2e-3
    """Highest learning rate of the schedule."""
    weight_decay: NotNegative = 1e-2
    schedule: Literal["one_cycle", "linear", "cosine", "constant"] = "one_cycle"
    """one_cycle: up from 1/25 of the rate and down to nearly 0 (Smith and Topin, 2018). linear, cosine: down to 0."""
    warmup: Share | None = None
    """Fraction of the steps in which the rate rises. None: 0.3 for one_cycle, 0 for the others."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Szegedy et al., "Rethinking the Inception Architecture", 2016."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the forward pass; weights are fp32. With fp16 the loss is scaled."""
    augment: AugmentSpec = AugmentSpec()
    normalize: Literal["dataset", "imagenet", "none"] = "dataset"
    """Pixels are normalized by the mean and deviation of the real train images, or ImageNet's. none: to -1 to 1."""
    early_stopping: Count | None = None
    """Stop after this many evaluations in a row without a better accuracy (for masks: mean IoU) on real validation, and
    keep the best weights. None: train all steps and keep the last weights."""
    evaluate_every: Count | None = None
    """Steps between evaluations on real validation; the last step is always evaluated. None: ten evaluations."""
    checkpoint_every: Count = 100
    """Steps between checkpoints, from which a killed training resumes."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the first weights, of the order of images and of their augmentation."""
    workers: Count = 1
    """Processes that share every batch, each with the GPUs or cores that the spec's cluster section gives an actor."""

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        if self.batch_size % self.workers:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared equally by {self.workers} workers")
        if self.weights == "imagenet" and not self.model.has_pretrained_weights:
            raise ValueError(f"weights 'imagenet': {self.model.kind} has none; name a model of torchvision")
        if self.total is not None and self.alpha is None:
            raise ValueError("total images cannot be divided without an alpha; give one")
        if self.balance != "none" and self.model.labels_pixels:
            raise ValueError(f"balance is for classes of images, and {self.model.kind} labels pixels: leave it out")
        return self

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with some keys of the section replaced. Raises ValueError, which names the key."""
        try:
            # By way of JSON, as a spec is read.
            return self.model_validate_json(json.dumps(json.loads(self.model_dump_json()) | dict(changes)))
        except ValidationError as error:
            first = error.errors()[0]
            place, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{place}: {reason}" if place else reason) from None
