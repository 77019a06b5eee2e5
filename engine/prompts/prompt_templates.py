"""The two sources of the prompts of a class: templates with attributes, and the rows of a prompt bank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import lcm, prod

from engine.config.prompts_spec import PLACEHOLDER
from engine.prompts.attribute_clusters import AttributeClusters

_MAX_CYCLE_LENGTH = 4096


class Coverage:
    """An infinite sequence of combinations over factors of the given sizes (each >= 1), in constant memory.

    A value is one of the least used of its factor, and of these the one whose pairs with the values before it were used
    least: the greedy idea of pairwise test generation (Cohen et al., "The AETG System", 1997).
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        step = lcm(*sizes)
        self._cycle_length = _MAX_CYCLE_LENGTH // step * step if step <= _MAX_CYCLE_LENGTH else _MAX_CYCLE_LENGTH
        self._strides = [prod(sizes[:factor]) for factor in range(len(sizes))]
        self._rows: list[tuple[int, ...]] = []
        self._value_counts = [[0] * size for size in sizes]
        self._pair_counts: dict[tuple[int, int, int, int], int] = {}

    def __getitem__(self, k: int) -> tuple[int, ...]:
        """Return combination number k >= 0: an index into the values of each factor."""
        cycle, position = divmod(k, self._cycle_length)
        while len(self._rows) <= position:
            self._append_row()
        # Later cycles repeat the first one with the values of each factor rotated, each by another rotation.
        row = zip(self._rows[position], self.sizes, self._strides, strict=True)
        return tuple([(value + cycle // stride) % size for value, size, stride in row])

    def _append_row(self) -> None:
        number, row = len(self._rows), list[int]()
        for factor, counts in enumerate(self._value_counts):
            least_used = [value for value, count in enumerate(counts) if count == min(counts)]
            pairs = {
                value: [self._pair_counts.get((other, chosen, factor, value), 0) for other, chosen in enumerate(row)]
                for value in least_used
            }
            size = self.sizes[factor]
            # Ties rotate, so that the values of a single factor alternate.
            value = min(least_used, key=lambda v: (sum(pairs[v]), max(pairs[v], default=0), (v - number) % size))
            for (other, chosen), uses in zip(enumerate(row), pairs[value], strict=True):
                self._pair_counts[other, chosen, factor, value] = uses + 1
            counts[value] += 1
            row.append(value)
        self._rows.append(tuple(row))


shared_coverage = cache(Coverage)
"""Returns the sequence for these sizes, shared by all classes that have them."""


@dataclass(frozen=True, slots=True)
class PromptText:
    """The text of a prompt. For attributes and source, see `Prompt`."""

    text: str
    attributes: tuple[tuple[str, str], ...] = ()
    source: str = ""


@dataclass(frozen=True)
class PromptTemplates:
    """Templates and attribute values of one class. class_text replaces `{class}`, and clusters `{attributes}`."""

    templates: tuple[str, ...]
    class_text: str
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    clusters: AttributeClusters | None

    def text(self, ordinal: int) -> PromptText:
        """Return the text of a slot of the class and strategy; they cover templates, values and pairs evenly."""
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


PromptSource = PromptTemplates | BankPrompts
"""The texts of one class in one strategy."""


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Return the template with its placeholders replaced; any other brace is an ordinary character."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)
