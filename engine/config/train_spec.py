"""How a classifier, or a network for masks, is trained from shards."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from engine.config.strict import Count, Share, Strict

DEFAULT_STEPS = 400
OWN_MODELS = ("small_cnn", "vit", "unet")
Positive = Annotated[float, Field(gt=0)]


def _number(value: object) -> object:
    """PyYAML reads 1e-5, without a dot, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Small = Annotated[float, BeforeValidator(_number), Field(ge=0)]


class VitSpec(Strict):
    """A vision transformer by its configuration (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021)."""

    patch: Count = 16
    """Side of a patch in pixels; it divides the side of an image."""
    hidden: Count = 128
    """Width of a token."""
    layers: Count = 4
    """Transformer blocks."""
    heads: Count = 2
    """Attention heads; they divide `hidden`."""
    intermediate: Count = 256
    """Width of the layer between the two of a block's perceptron."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is no multiple of heads {self.heads}")
        return self


class Change(Strict):
    """A change of some images; how strong is drawn for each image, evenly up to `strength`."""

    probability: Share = 0.5
    """Of an image to be changed."""
    strength: Positive
    """The most that it is changed."""


class AugmentSpec(Strict):
    """Changes of the training images, drawn anew for each image of each step, in this order. None by default."""

    horizontal_flip: Share = 0.0
    """Probability."""
    rotation: Change | None = None
    """To either side; strength in degrees."""
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
    def _possible(self) -> Self:
        most = {"rotation": 180.0, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5, "blur": 8.0}
        for name, limit in most.items():
            change: Change | None = getattr(self, name)
            if change is not None and change.strength > limit:
                raise ValueError(f"{name}.strength {change.strength:g} is more than {limit:g}")
        return self


class TrainSpec(Strict):
    """One training on the run's real train images mixed with its synthetic ones, by AdamW."""

    name: str = Field("classifier", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Its results are in RUN/train/NAME."""
    model: str = "small_cnn"
    """small_cnn; vit, with its settings below; unet, for masks; or a classifier of torchvision by its name, like
    mobilenet_v3_small, resnet18 or resnet34. At 64 pixels and less ResNets, MobileNets and EfficientNets begin without
    losing resolution (He et al., "Deep Residual Learning", 2016, section 4.2), but for a ResNet whose first `weights`
    are of the other form, as those of ImageNet."""
    vit: VitSpec | None = None
    """Of the model vit alone, which needs it."""
    weights: str | None = None
    """First weights: imagenet, from torch's hub cache or its server; or a .safetensors or .pth file. The last layer is
    new where it is of another size. None: random, from `seed`."""
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    """Pixels of both sides that images are scaled and cut to; as they are in the shards if none."""
    steps: Count | None = None
    """Optimizer steps; 400 if neither `steps` nor `epochs` is given."""
    epochs: Positive | None = None
    """Instead of `steps`: how often every real image comes, or with alpha 1 every synthetic one."""
    batch_size: Count = 64
    """Images of a step, real and synthetic together, over all workers."""
    alpha: Share | None = None
    """Synthetic fraction of every batch; if none, all images, real and synthetic, come equally often."""
    total: Count | None = None
    """Train on so many images in all, of them alpha synthetic ones, a fair share of every class; the others are left
    out. All if none."""
    balance: Literal["none", "oversample", "class_weights"] = "none"
    """What to do about rare classes besides, or instead of, making images of them. oversample: every class comes
    equally often. class_weights: the loss of an image is divided by how often its class comes."""
    learning_rate: Annotated[Small, Field(gt=0)] = 2e-3
    """The highest of the schedule."""
    weight_decay: Small = 1e-2
    schedule: Literal["one_cycle", "linear", "cosine", "constant"] = "one_cycle"
    """one_cycle: up and down in cosines from 1/25 of the rate to nearly 0 (Smith and Topin, "Super-Convergence", 2018);
    linear and cosine: down to 0."""
    warmup: Share | None = None
    """Fraction of the steps in which the rate rises; if none, 0.3 for one_cycle and 0 for the others."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Szegedy et al., "Rethinking the Inception Architecture", 2016."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the forward pass; weights are fp32. fp16 scales the loss."""
    augment: AugmentSpec = AugmentSpec()
    normalize: Literal["dataset", "imagenet", "none"] = "dataset"
    """Mean and standard deviation of the pixels that the network sees as 0 and 1: of the real train images, of
    ImageNet; none: 127.5 and 127.5, so that they go from -1 to 1."""
    early_stopping: Count | None = None
    """Stop after so many evaluations in a row without a better accuracy (for masks: mean IoU) on real validation, and
    keep the best weights. None: all steps, and the last weights."""
    evaluate_every: Count | None = None
    """Steps between evaluations on real validation, and one after the last; ten in all if none."""
    checkpoint_every: Count = 100
    """Steps between checkpoints, which a killed training goes on from."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides the first weights, the order of images and their augmentation."""
    workers: Count = 1
    """Processes that share every batch, each on as many GPUs or cores as the spec's cluster section gives an actor."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        if self.batch_size % self.workers:
            raise ValueError(f"batch_size {self.batch_size} cannot be shared equally by {self.workers} workers")
        if (self.model == "vit") != (self.vit is not None):
            raise ValueError("the model vit and its settings vit: {...} are given together or not at all")
        if self.weights == "imagenet" and self.model in OWN_MODELS:
            raise ValueError(f"weights 'imagenet': there are none of {self.model}; name a model of torchvision")
        if self.total is not None and self.alpha is None:
            raise ValueError("total images cannot be divided without an alpha; give one")
        if self.balance != "none" and self.model == "unet":
            raise ValueError("balance is of classes of images, and unet learns those of pixels: leave it out")
        return self

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """The same training with some keys of the section set anew. Raises ValueError, which names the key."""
        try:
            # By way of JSON, as a spec is read.
            return self.model_validate_json(json.dumps(json.loads(self.model_dump_json()) | dict(changes)))
        except ValidationError as error:
            first = error.errors()[0]
            place, reason = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{place}: {reason}" if place else reason) from None
