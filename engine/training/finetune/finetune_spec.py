"""The training spec of `python -m jobs finetune`: which images, on top of which model, and how.

Only pydantic is imported here, so that a spec is checked before torch is loaded.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.config.condition_spec import WarpSpec
from engine.config.data_spec import DataSpec
from engine.config.palette import Palette
from engine.config.prompts_spec import PLACEHOLDER
from engine.config.strict import Count, Share, Strict
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.generators.optimizations.optimizations_spec import OptimizationsSpec


def _names_only_the_class(text: str) -> str:
    if unknown := set(PLACEHOLDER.findall(text)) - {"class"}:
        raise ValueError(f"{{{min(unknown)}}} is no placeholder here; {{class}} is the only one")
    return text


Template = Annotated[str, AfterValidator(_names_only_the_class)]
"""A prompt in which `{class}` is the name of the image's class."""


class BaseModelSpec(Strict):
    """The model that is fine-tuned. Nothing of it changes: the adapter, or ControlNet, is a file of its own."""

    source: str
    """A folder in the diffusers format, a hub id, or `embedded/digits`."""
    revision: str | None = None
    """Of a hub model: branch, tag or commit."""
    variant: str | None = None
    """Of the weight files, like `fp16`."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """What it computes in; what is trained is so in fp32."""


class PriorSpec(Strict):
    """Prior preservation: images that the model itself makes before the training stand beside the real ones in every
    batch, so that it does not forget what else the words mean (Ruiz et al., "DreamBooth", 2022)."""

    prompt: Template
    """What to preserve: the kind of thing, like `a photo of a bird`, with or without `{class}`."""
    images: Count = 100
    """Of each distinct prompt."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Of its loss, the loss on the real images weighing 1."""
    steps: Count = 30
    """Denoising steps of these images."""
    guidance: Annotated[float, Field(ge=0)] = 7.5
    """Guidance of these images."""
    batch_size: Count = 4
    """How many are made at a time."""


class ControlSpec(Strict):
    """Instead of a LoRA adapter a ControlNet (Zhang et al., 2023), by which the model follows the masks of `data`."""

    drop_prompt: Share = 0.5
    """Probability that an image comes without its prompt, so that the mask has to say what it shows."""
    warp: WarpSpec | None = None
    """Change images and their masks alike, so that few make many."""


class FinetuneSpec(Strict):
    """One training. Equal specs give equal weights on equal machines, interrupted or not."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    """For the model card."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Root of all randomness."""
    model: BaseModelSpec
    data: DataSpec
    """The real images. Give a run that uses the adapter the same, so that what judges it was never seen here."""
    split: Literal["world", "train"] = "world"
    """The images to learn from. `world` is what generators learn from; `train` where the few images of a rare class
    are needed for both. Validation and test never are."""
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    """The classes to learn; all if none."""
    names: dict[str, str] = {}
    """What `{class}` becomes, where that is not the class's own name."""
    per_class: bool = False
    """One adapter for each class, in a folder of its name, rather than one for all."""
    prompt: Template = "a photo of a {class}"
    """Says what a real image shows; a rare word beside the class, as in `a photo of a zwx {class}`, binds to it."""
    control: ControlSpec | None = None
    prior: PriorSpec | None = None
    rank: Count = 16
    """Of the LoRA matrices."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """The adapter's effect is scaled by alpha / rank; by 1 if none."""
    targets: tuple[str, ...] = Field(("to_q", "to_k", "to_v", "to_out.0"), min_length=1)
    """Layers that get an adapter, by the ends of their names: all projections of attention."""
    size: Annotated[int, Field(ge=16, le=4096, multiple_of=8)] = 512
    """Side of the training images, pixels: what the model was made for."""
    crop: Literal["centre", "random"] = "centre"
    """Which square of an image that is not square."""
    flip: bool = True
    """Mirror images, half of the time. Not for digits, letters and traffic signs."""
    steps: Count = 500
    """Optimizer steps."""
    batch: Count = 1
    """Real images of a forward pass; as many of the prior beside them."""
    accumulation: Count = 1
    """Forward passes of a step."""
    rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of AdamW, after the warm-up, before a cosine to zero."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up."""
    snr_gamma: Annotated[float, Field(gt=0)] | None = None
    """Gamma of min-SNR loss weights (Hang et al., 2023), like 5; all steps of the noise weigh the same if none."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Seconds between checkpoints."""

    @model_validator(mode="after")
    def _classes_can_be_told_apart(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes holds a name twice")
        if not self.per_class and (self.classes is None or len(self.classes) > 1) and "{class}" not in self.prompt:
            raise ValueError("prompt: without {class} all classes would be called the same; add it, or set per_class")
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.control is None:
            return self
        if self.data.masks is None:
            raise ValueError("control needs the masks of the real images: give data.masks")
        for name in ("per_class", "prior", "rank", "alpha", "targets"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is of LoRA adapters: leave it out, or leave out control")
        return self

    @property
    def palette(self) -> Palette:
        """Colours of the masks that a ControlNet is to follow."""
        assert self.data.masks is not None
        return self.data.masks.palette

    def settings(self) -> TextToImageSettings:
        """The base model as a generator, which makes the images of the prior."""
        made = {} if self.prior is None else self.prior.model_dump(include={"steps", "guidance", "batch_size"})
        fast = OptimizationsSpec(packed=False)  # nothing can be learned through such weights
        return TextToImageSettings(**self.model.model_dump(), **made, width=self.size, height=self.size, fast=fast)

    def instance_prompt(self, class_name: str) -> str:
        """What a real image of the class is said to show."""
        return self.prompt.replace("{class}", self.names.get(class_name, class_name))

    def prior_prompts(self, classes: Iterable[str]) -> tuple[str, ...]:
        """The distinct prompts of the prior."""
        if self.prior is None:
            return ()
        template = self.prior.prompt
        return tuple(dict.fromkeys(template.replace("{class}", self.names.get(one, one)) for one in classes))
