"""The two sources of the prompts of a class: templates with attributes, and the rows of a prompt bank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from engine.config.prompts_spec import PLACEHOLDER
from engine.prompts.attribute_clusters import AttributeClusters
from engine.prompts.coverage import Coverage, shared_coverage


@dataclass(frozen=True, slots=True)
class PromptText:
    """The text of a prompt. For attributes and source, see `Prompt`."""

    text: str
    attributes: tuple[tuple[str, str], ...] = ()
    source: str = ""


class PromptSource(Protocol):
    """The texts of one class in one strategy."""

    def text(self, ordinal: int) -> PromptText:
        """Return the text of a slot. ordinal: its position >= 0 among the slots of the class and the strategy."""


@dataclass(frozen=True)
class PromptTemplates:
    """Templates and attribute values of one class. class_text replaces `{class}`, and clusters `{attributes}`."""

    templates: tuple[str, ...]
    class_text: str
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    clusters: AttributeClusters | None

    def text(self, ordinal: int) -> PromptText:
        """Return the text of a slot; the slots cover templates, values and pairs of them evenly."""
        template_index, *value_indices = self._coverage[ordinal]
        choices = zip(self.attributes, value_indices, strict=True)
        chosen = {name: values[index] for (name, values), index in choices}
        if self.clusters is not None:
            chosen["attributes"] = ", ".join(self.clusters.draw(ordinal))
        used = [name for name in self._placeholders[template_index] if name in chosen]
        text = fill_template(self.templates[template_index], {"class": self.class_text, **chosen})
        return PromptText(text, tuple([(name, chosen[name]) for name in used]))

    @cached_property
    def _coverage(self) -> Coverage:
        # The template is one more factor, so that every template meets every value equally often.
        return shared_coverage((len(self.templates), *(len(values) for _, values in self.attributes)))

    @cached_property
    def _placeholders(self) -> list[list[str]]:
        return [sorted(set(PLACEHOLDER.findall(template))) for template in self.templates]


@dataclass(frozen=True)
class BankPrompts:
    """(prompt, source) of each row of a class in a prompt bank. The slots of the class use the rows in rotation."""

    rows: Sequence[tuple[str, str]]

    def text(self, ordinal: int) -> PromptText:
        """Return the text of a slot."""
        text, source = self.rows[ordinal % len(self.rows)]
        return PromptText(text, source=source)


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Return the template with its placeholders replaced; any other brace is an ordinary character."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)
