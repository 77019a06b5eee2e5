"""What the YAML file of a prompt bank may say."""

from collections.abc import Collection
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from engine.config.data_spec import DataSpec
from engine.config.prompts_spec import PLACEHOLDER
from engine.config.strict import Count, Share, Strict
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
    """How a class is spoken of."""

    name: str | None = Field(None, min_length=1)
    """What `{class}` becomes; the class's own name if none."""
    aliases: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Other words that count as the name of the class in an answer."""


class BankSpec(Strict):
    """What both kinds of bank have."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    """For people."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Root of the seed of every request."""
    words: dict[str, ClassWords] = {}
    """Exceptions by class name."""
    patience: Annotated[float, Field(ge=1, le=1000)] = 4.0
    """Requests at most, as a multiple of those that would do if no answer had to be turned down."""

    def spoken(self, class_name: str) -> str:
        """What `{class}` becomes."""
        return self.words.get(class_name, ClassWords()).name or class_name

    def names(self, class_name: str) -> tuple[str, ...]:
        """What counts as the name of the class in an answer."""
        return (self.spoken(class_name), class_name, *self.words.get(class_name, ClassWords()).aliases)


class PromptBankSpec(BankSpec):
    """Prompts for each class, by a language model."""

    classes: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(None, min_length=1)
    """Class names; or `data`, which has them."""
    data: DataSpec | None = None
    per_class: Count = 100
    """Prompts of each class."""
    per_request: Annotated[int, Field(ge=1, le=100)] = 10
    """What `{count}` becomes: prompts asked for at once. Each is to be on a line of its own."""
    instruction: str = _PROMPTS
    """What the model is told, with `{class}`."""
    model: ModelSpec = TransformersSpec(backend="transformers")

    @model_validator(mode="after")
    def _classes_are_known(self) -> Self:
        if (self.data is None) == (self.classes is None):
            raise ValueError("give either data, which has its classes, or classes")
        if self.classes is not None:
            if len(set(self.classes)) < len(self.classes):
                raise ValueError("classes holds a name twice")
            if unknown := self.words.keys() - set(self.classes):
                raise ValueError(f"words names {sorted(unknown)[0]!r}, which is no class: {', '.join(self.classes)}")
        _check("instruction", self.instruction, {"class"}, {"class", "count"})
        return self

    def asked(self) -> dict[str, Any]:
        """What decides the answers; only as long as it stays the same can answers of before be used."""
        return _asked(self, per_request=self.per_request)


class CaptionBankSpec(BankSpec):
    """Descriptions of the real images of the train split, by a vision-language model."""

    data: DataSpec
    per_class: Count | None = None
    """Images of each class that are described, at most."""
    per_image: Count = 1
    """Captions of each image, all different."""
    longest_side: Annotated[int, Field(ge=32, le=8192)] = 1024
    """Pixels; an image that is larger is shown to the model scaled down to this."""
    instruction: str = _CAPTION
    """What the model is told about an image, with `{class}`."""
    prefix: str | None = "a photo of a {class}: "
    """Put before a caption that lacks the class name; if none, such a caption is turned down."""
    may_miss: Share = 0.05
    """Share of a class's images that may stay without caption, where the model keeps refusing; more is an error."""
    model: VisionModelSpec = VisionSpec(backend="transformers")

    @model_validator(mode="after")
    def _templates_fit(self) -> Self:
        _check("instruction", self.instruction, {"class"}, {"class"})
        if self.prefix is not None:
            _check("prefix", self.prefix, {"class"}, {"class"})
        return self

    def asked(self) -> dict[str, Any]:
        """What decides the answers; only as long as it stays the same can answers of before be used."""
        return _asked(self, longest_side=self.longest_side)


def fill(template: str, **words: str) -> str:
    """The template with its placeholders replaced; any other brace is an ordinary character."""
    return PLACEHOLDER.sub(lambda found: words[found[1]], template)


def _asked(spec: PromptBankSpec | CaptionBankSpec, **more: Any) -> dict[str, Any]:
    names = {label: words.name for label, words in spec.words.items() if words.name is not None}
    asked = {"seed": spec.seed, "instruction": spec.instruction, "names": names, "model": spec.model.identity()}
    return asked | more


def _check(place: str, template: str, required: Collection[str], known: Collection[str]) -> None:
    used = set(PLACEHOLDER.findall(template))
    if missing := set(required) - used:
        raise ValueError(f"{place} {template!r} lacks {{{sorted(missing)[0]}}}")
    if unknown := used - set(known):
        names = ", ".join(f"{{{name}}}" for name in sorted(known))
        raise ValueError(f"{place} uses {{{min(unknown)}}}; known are {names}")
