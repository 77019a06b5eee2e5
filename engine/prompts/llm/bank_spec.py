"""The specs of the jobs that write prompt banks."""

from collections.abc import Sequence, Set
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from engine.config.data_spec import DataSpec
from engine.config.prompts_spec import PLACEHOLDER
from engine.config.strict import Count, Share, Strict
from engine.errors import SpecError
from engine.prompts.llm.backend_settings import ModelSpec, TransformersSpec, VisionModelSpec, VisionSpec

_PROMPTS = (
    "Write {count} different prompts for a text-to-image model. Each describes one realistic photo of a {class}: its "
    "looks, what it does, the surroundings, the light and the viewpoint, in 10 to 25 words. Every prompt contains the "
    'word "{class}". Answer with a numbered list of the prompts, one per line, and nothing else.'
)
_CAPTION = (
    "This is a photo of a {class}. Describe in one sentence of at most 25 words what can be seen: the {class}, what it "
    'does, its colours, the surroundings and the viewpoint. Use the word "{class}". Answer with the sentence alone.'
)


class ClassWords(Strict):
    """Names of a class in instructions and in prompts."""

    name: str | None = Field(None, min_length=1)
    """Text that replaces `{class}`; by default the class name."""
    aliases: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Other names of the class; a prompt must contain one of its names."""


class BankSpec(Strict):
    """Settings that both kinds of bank share."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    """Name of the bank."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of all requests."""
    words: dict[str, ClassWords] = {}
    """Names that differ from the class name, by class name."""
    patience: Annotated[float, Field(ge=1, le=1000)] = 4.0
    """Maximum number of requests, as a multiple of the number that suffices if no prompt is rejected."""

    def class_text(self, class_name: str) -> str:
        """Return the text that replaces `{class}`."""
        return self.words.get(class_name, ClassWords()).name or class_name

    def class_names(self, class_name: str) -> tuple[str, ...]:
        """Return the names of the class, of which a prompt must contain one."""
        return (self.class_text(class_name), class_name, *self.words.get(class_name, ClassWords()).aliases)


class PromptBankSpec(BankSpec):
    """A bank of prompts for each class, by a language model."""

    classes: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(None, min_length=1)
    """Class names; or give `data`, which has them."""
    data: DataSpec | None = None
    per_class: Count = 100
    """Number of prompts of each class."""
    per_request: Annotated[int, Field(ge=1, le=100)] = 10
    """Number of prompts in one request, which replaces `{count}`. The model must write one per line."""
    instruction: str = _PROMPTS
    """Instruction to the model; contains `{class}`."""
    model: ModelSpec = TransformersSpec(backend="transformers")

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if (self.data is None) == (self.classes is None):
            raise ValueError("give either data, which has its classes, or classes")
        if self.classes is not None:
            if len(set(self.classes)) < len(self.classes):
                raise ValueError("classes has a name twice")
            if unknown := self.words.keys() - set(self.classes):
                raise ValueError(f"words has {min(unknown)!r}, which is no class: {', '.join(self.classes)}")
        _check_placeholders("instruction", self.instruction, {"class", "count"})
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the responses. Cached responses are used only if it is unchanged."""
        return _identity(self, per_request=self.per_request)


class CaptionBankSpec(BankSpec):
    """A bank of captions of the real images of the train split, by a vision-language model."""

    data: DataSpec
    per_class: Count | None = None
    """Maximum number of described images of each class; by default all."""
    per_image: Count = 1
    """Number of different captions of each image."""
    longest_side: Annotated[int, Field(ge=32, le=8192)] = 1024
    """Pixels; a larger image is scaled down to this before the model sees it."""
    instruction: str = _CAPTION
    """Instruction to the model with each image; contains `{class}`."""
    prefix: str | None = "a photo of a {class}: "
    """Text before a caption without a name of the class; null rejects such a caption."""
    may_miss: Share = 0.05
    """Share of the captions of a class that may be missing in the end because the model refuses; more is an error."""
    model: VisionModelSpec = VisionSpec(backend="transformers")

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        _check_placeholders("instruction", self.instruction, {"class"})
        if self.prefix is not None:
            _check_placeholders("prefix", self.prefix, {"class"})
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the responses. Cached responses are used only if it is unchanged."""
        return _identity(self, longest_side=self.longest_side)


def check_words(spec: BankSpec, classes: Sequence[str]) -> None:
    """Raise SpecError if `words` names an unknown class."""
    if unknown := spec.words.keys() - set(classes):
        raise SpecError(f"words has {min(unknown)!r}, which is no class of the data: {', '.join(classes)}")


def _identity(spec: PromptBankSpec | CaptionBankSpec, **more: Any) -> dict[str, Any]:
    names = {label: words.name for label, words in spec.words.items() if words.name is not None}
    identity = {"seed": spec.seed, "instruction": spec.instruction, "names": names, "model": spec.model.identity()}
    return identity | more


def _check_placeholders(place: str, template: str, known: Set[str]) -> None:
    used = set(PLACEHOLDER.findall(template))
    if "class" not in used:
        raise ValueError(f"{place} {template!r} lacks {{class}}")
    if unknown := used - known:
        names = ", ".join(f"{{{name}}}" for name in sorted(known))
        raise ValueError(f"{place} uses {{{min(unknown)}}}; known are {names}")
