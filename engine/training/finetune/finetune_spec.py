"""The training spec of `python -m jobs finetune`, checked before torch is loaded."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.config.condition_spec import WarpSpec
from engine.config.data_spec import DataSpec, Palette
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
    """The base model. It does not change: the adapter or ControlNet is a file of its own."""

    source: str
    """A folder in the diffusers format, a hub id, or `embedded/digits`."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    variant: str | None = None
    """Variant of the weight files, like `fp16`."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision that the base model computes in. Trained weights are fp32."""


class PriorSpec(Strict):
    """Prior preservation (Ruiz et al., "DreamBooth", 2022): every batch also holds images that the base model made.

    They are made before the training, and keep the model from forgetting the other meanings of the words.
    """

    prompt: Template
    """The kind of thing to preserve, like `a photo of a bird`, with or without `{class}`."""
    images: Count = 100
    """Images of each distinct prompt."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the prior's loss; the loss on the real images has weight 1."""
    steps: Count = 30
    """Denoising steps of these images."""
    guidance: Annotated[float, Field(ge=0)] = 7.5
    """Guidance of these images."""
    batch_size: Count = 4
    """Images of a forward pass."""


class ControlSpec(Strict):
    """Settings of a ControlNet (Zhang et al., 2023), trained on the masks of `data` instead of a LoRA adapter."""

    drop_prompt: Share = 0.5
    """Probability that an image loses its prompt, so that the ControlNet learns to recognize content from the mask."""
    warp: WarpSpec | None = None
    """Random changes of an image together with its mask. None: no changes."""


class FinetuneSpec(Strict):
    """One training. Equal specs give equal weights on equal machines, interrupted or not."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    """Title of the model card."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Root of all randomness."""
    model: BaseModelSpec
    data: DataSpec
    """The real images. A run that uses the adapter needs the same `data`, so that it is judged on unseen images."""
    split: Literal["world", "train"] = "world"
    """Split to learn from. Use `train` if both the generator and the classifier need the few images of a rare class."""
    classes: tuple[str, ...] | None = Field(None, min_length=1)
    """Classes to learn. None: all."""
    names: dict[str, str] = {}
    """Text for `{class}` by class, if it is not the class's own name."""
    per_class: bool = False
    """Train one adapter for each class, in a folder of its name, instead of one for all."""
    prompt: Template = "a photo of a {class}"
    """Prompt of a real image. A rare word beside the class, as in `a photo of a zwx {class}`, binds to the images."""
    control: ControlSpec | None = None
    prior: PriorSpec | None = None
    rank: Count = 16
    """Rank of the LoRA matrices."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """The adapter's effect is scaled by alpha / rank. None: by 1."""
    targets: tuple[str, ...] = Field(("to_q", "to_k", "to_v", "to_out.0"), min_length=1)
    """Layers that get an adapter, by the ends of their names. The default is all projections of attention."""
    size: Annotated[int, Field(ge=16, le=4096, multiple_of=8)] = 512
    """Side of the training images in pixels: the size that the base model was trained at."""
    crop: Literal["centre", "random"] = "centre"
    """Place of the square that is cut out of an image."""
    flip: bool = True
    """Mirror half of the images. Turn it off for digits, letters and traffic signs."""
    steps: Count = 500
    """Optimizer steps."""
    batch: Count = 1
    """Real images of a forward pass. With a prior, the batch holds as many images of it in addition."""
    accumulation: Count = 1
    """Forward passes of a step."""
    rate: Annotated[float, Field(gt=0)] = 1e-4
    """Learning rate of AdamW, after the warm-up, before a cosine to zero."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up."""
    snr_gamma: Annotated[float, Field(gt=0)] | None = None
    """Gamma of min-SNR loss weights (Hang et al., 2023), like 5. None: all noise levels have the same weight."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Seconds between checkpoints."""

    @model_validator(mode="after")
    def _prompts_distinguish_classes(self) -> Self:
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes holds a name twice")
        if not self.per_class and (self.classes is None or len(self.classes) > 1) and "{class}" not in self.prompt:
            raise ValueError("prompt: without {class} all classes would be called the same; add it, or set per_class")
        return self

    @model_validator(mode="after")
    def _lora_or_controlnet(self) -> Self:
        if self.control is None:
            return self
        if self.data.mask_palette is None:
            raise ValueError("control needs the masks of the real images: give data.masks")
        for name in ("per_class", "prior", "rank", "alpha", "targets"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is of LoRA adapters: leave it out, or leave out control")
        return self

    @property
    def palette(self) -> Palette:
        """Colours of the masks that a ControlNet learns to follow."""
        palette = self.data.mask_palette
        assert palette is not None
        return palette

    def settings(self) -> TextToImageSettings:
        """Return the base model as a generator, which makes the images of the prior."""
        sampling = {} if self.prior is None else self.prior.model_dump(include={"steps", "guidance", "batch_size"})
        optimizations = OptimizationsSpec(packed_weights=False)  # Gradients do not pass through packed weights.
        return TextToImageSettings(
            **self.model.model_dump(), **sampling, width=self.size, height=self.size, optimizations=optimizations
        )

    def instance_prompt(self, class_name: str) -> str:
        """Return the prompt of a real image of the class."""
        return self.prompt.replace("{class}", self.names.get(class_name, class_name))

    def prior_prompts(self, classes: Iterable[str]) -> tuple[str, ...]:
        """Return the distinct prompts of the prior."""
        if self.prior is None:
            return ()
        template = self.prior.prompt
        return tuple(dict.fromkeys(template.replace("{class}", self.names.get(name, name)) for name in classes))
