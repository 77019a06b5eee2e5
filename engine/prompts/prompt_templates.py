"""One way to word the prompts of one class: templates with attributes, or a bank's rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from engine.config.prompts_spec import PLACEHOLDER
from engine.prompts.attribute_clusters import AttributeClusters
from engine.prompts.coverage import Coverage, shared_coverage


@dataclass(frozen=True, slots=True)
class PromptText:
    """A worded prompt. attributes, source: see `Prompt`."""

    text: str
    attributes: tuple[tuple[str, str], ...] = ()
    source: str = ""


class PromptSource(Protocol):
    """The texts of one class under one strategy."""

    def text(self, ordinal: int) -> PromptText:
        """The text of the slot with this ordinal >= 0 among those of the class and strategy."""
        ...


@dataclass(frozen=True)
class PromptTemplates:
    """Templates and attribute values of one class, all exceptions applied.

    name:     what `{class}` becomes.
    clusters: what `{attributes}` becomes.
    """

    templates: tuple[str, ...]
    name: str
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    clusters: AttributeClusters | None

    def text(self, ordinal: int) -> PromptText:
        """Templates, values and pairs of them evenly."""
        which, *chosen = self._coverage[ordinal]
        pairs = zip(self.attributes, chosen, strict=True)
        values = {name: known[value] for (name, known), value in pairs}
        if self.clusters is not None:
            values["attributes"] = ", ".join(self.clusters.draw(ordinal))
        template = self.templates[which]
        used = [name for name in self._placeholders[which] if name in values]
        words = {"class": self.name, **values}
        text = PLACEHOLDER.sub(lambda found: words[found[1]], template)
        return PromptText(text, tuple([(name, values[name]) for name in used]))

    @cached_property
    def _coverage(self) -> Coverage:
        # The template is one more factor, so that every template meets every value as often as any other.
        return shared_coverage((len(self.templates), *(len(values) for _, values in self.attributes)))

    @cached_property
    def _placeholders(self) -> list[list[str]]:
        return [sorted(set(PLACEHOLDER.findall(template))) for template in self.templates]


@dataclass(frozen=True)
class BankPrompts:
    """(prompt, source) of each row of a class; the images of the class take them in turn."""

    rows: Sequence[tuple[str, str]]

    def text(self, ordinal: int) -> PromptText:
        """Row after row, and again from the first."""
        text, source = self.rows[ordinal % len(self.rows)]
        return PromptText(text, source=source)
