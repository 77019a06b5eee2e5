"""The training spec of `python -m jobs train-generator`, checked before torch is loaded."""

from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.data_spec import DataSpec
from engine.config.strict import Strict

StrokeName = Literal["weight", "slant", "size", "contrast"]
PhotographName = Literal["brightness", "tones", "saturation", "warmth", "detail"]


class PoolSpec(Strict):
    """The training pool: every world image, and changed copies of it. By default there are no copies and no changes.

    Each range is the bound of a uniform draw on both sides of "unchanged". Attributes are measured after the change.
    """

    copies: int = Field(default=1, ge=1)
    """Images in the pool for each world image, the original included."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """Probability that a copy is mirrored, left to right."""
    rotation: float = Field(default=0.0, ge=0)
    """Degrees."""
    shear: float = Field(default=0.0, ge=0)
    """Horizontal shift per unit of height."""
    scale: float = Field(default=0.0, ge=0, lt=1)
    """Relative; width and height are drawn independently."""
    shift: float = Field(default=0.0, ge=0)
    """Pixels at the training size."""
    border: Literal["black", "reflect"] = "black"
    """Fills what a moved copy leaves empty: black, for digits; the image's own mirror image, for photographs."""
    stroke: float = Field(default=0.0, ge=0, le=1)
    """Weight of one 3x3 dilation or erosion."""
    faintest: float = Field(default=1.0, gt=0, le=1)
    """Lowest contrast factor; half of the copies keep 1."""


class CaptionSpec(Strict):
    """The wording of captions. Facts are left out at random, so that prompts without them work as well."""

    templates: tuple[str, ...] = Field(min_length=1)
    """{name} is the class, {listed} the attribute words joined by blanks, {clauses} the same ones after commas. The
    first template, with {listed} and {name}, also makes the prompts of the quality measurement."""
    aliases: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Other names of a class, by class."""
    alias: float = Field(default=0.1, ge=0, le=1)
    """Probability of another name instead of the class's own, if it has one."""
    drop_attribute: float = Field(default=0.35, ge=0, le=1)
    """Probability that an attribute is left out, for each by itself."""
    drop_class: float = Field(default=0.03, ge=0, le=1)
    """Probability that the class is left out."""
    drop_all: float = Field(default=0.05, ge=0, le=1)
    """Probability of an empty caption, which guidance compares against."""
    strange_word: float = Field(default=0.1, ge=0, le=1)
    """Probability of a random word that means nothing."""

    @model_validator(mode="after")
    def _fields_are_known(self) -> Self:
        for template in self.templates:
            parts = Formatter().parse(template)
            # A conversion or a format makes the field an unknown one.
            fields = {
                f"{field}{format_}{conversion or ''}" for _, field, format_, conversion in parts if field is not None
            }
            needed = {"listed", "name"} if template == self.templates[0] else {"name"}
            if not needed <= fields <= {"listed", "clauses", "name"}:
                raise ValueError(
                    f"template {template!r} must hold {{name}}, the first one {{listed}} too, and beside them only "
                    "{clauses} and {listed}"
                )
        return self


class AutoencoderSpec(Strict):
    """The AutoencoderKL. It halves the resolution once less than it has levels: by a factor of 4 with three."""

    channels: tuple[int, ...] = (8, 16, 32)
    latent_channels: int = Field(default=4, ge=1)
    steps: int = Field(default=1500, ge=1)
    batch: int = Field(default=64, ge=1)
    rate: float = Field(default=2e-3, gt=0)
    kl_weight: float = Field(default=1e-3, ge=0)
    """Weight of the KL term per latent element; the mean error per pixel has weight 1."""


class TextSpec(Strict):
    """The CLIP text encoder. tokens: of the longest prompt, with start and end."""

    width: int = Field(default=64, ge=8)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    tokens: int = Field(default=24, ge=8, le=77)


class DenoiserSpec(Strict):
    """The UNet2DConditionModel on latents. attends: for each level, whether it has cross-attention."""

    channels: tuple[int, ...] = (64, 112)
    attends: tuple[bool, ...] = (False, True)
    layers: int = Field(default=1, ge=1)
    heads: int = Field(default=4, ge=1)
    steps: int = Field(default=3000, ge=1)
    batch: int = Field(default=128, ge=1)
    rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=100, ge=0)
    """Steps of linear warm-up before the cosine decay."""
    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the weight average, which is the trained model."""
    snr_cap: float = Field(default=5.0, gt=0)
    """Gamma of min-SNR-gamma loss weights."""

    @model_validator(mode="after")
    def _levels_match(self) -> Self:
        if len(self.channels) != len(self.attends):
            raise ValueError(f"channels has {len(self.channels)} levels and attends has {len(self.attends)}")
        return self


class GeneratorSpec(Strict):
    """One training. The same spec on the same kind of machine gives the same weights, interrupted or not."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = Field(ge=0, lt=2**31)
    data: DataSpec
    size: int = Field(default=32, ge=16, multiple_of=8)
    """Side of the generated images, pixels."""
    credit: str = ""
    """Sentence of the model card that names the origin of the real images and their licence."""
    attributes: tuple[StrokeName | PhotographName, ...]
    """Measured on each image and named in its caption: of strokes (bright ink on black), or of photographs."""
    pool: PoolSpec = PoolSpec()
    captions: CaptionSpec
    text: TextSpec = TextSpec()
    autoencoder: AutoencoderSpec = AutoencoderSpec()
    denoiser: DenoiserSpec = DenoiserSpec()
    inference_steps: int = Field(default=8, ge=1)
    """Sampler steps of the quality measurement."""
    guidance: float = Field(default=0.0, ge=0)
    """Scale of classifier-free guidance in the quality measurement. Up to 1 there is no guidance."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the forward pass in training; weights are fp32. bf16 is faster on machines that compute in it."""
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    judged: int = Field(default=1000, ge=10)
    """Images generated for the quality measurement."""
    judge_steps: int = Field(default=600, ge=1)
    """Training steps, of 64 images, of the classifier that measures label accuracy."""
