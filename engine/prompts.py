"""From a slot to its prompt: templates and attributes, covered evenly within each class. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.coverage import coverage
from engine.plan import Slot
from engine.spec import PLACEHOLDER, ClassPrompts, PromptsSpec


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a generator is told.

    attributes: name and value of each attribute that the text really speaks of, sorted by name.
    """

    text: str
    negative: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _ClassBook:
    """Templates and attribute values of one class, all exceptions applied."""

    name: str
    templates: tuple[str, ...]
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    negative: str

    def prompt(self, ordinal: int) -> Prompt:
        # The template is one more factor, so that every template meets every value as often as any other.
        sizes = (len(self.templates), *(len(values) for _, values in self.attributes))
        which, *chosen = coverage(sizes)[ordinal]
        template = self.templates[which]
        pairs = zip(self.attributes, chosen, strict=True)
        values = {name: known[value] for (name, known), value in pairs}
        used = sorted(set(PLACEHOLDER.findall(template)) & values.keys())
        words = {"class": self.name, **values}
        text = PLACEHOLDER.sub(lambda found: words[found[1]], template)
        return Prompt(text, self.negative, tuple((name, values[name]) for name in used))


class PromptBook:
    """The prompts of a run."""

    def __init__(self, spec: PromptsSpec, classes: Sequence[str]) -> None:
        self._books = [_class_book(spec, name) for name in classes]

    def prompt(self, slot: Slot) -> Prompt:
        """The prompt of a slot; every attempt at it has the same."""
        return self._books[slot.label].prompt(slot.ordinal)


def _class_book(spec: PromptsSpec, name: str) -> _ClassBook:
    special = spec.classes.get(name, ClassPrompts())
    templates = special.templates or spec.templates
    used = {word for template in templates for word in PLACEHOLDER.findall(template)}
    attributes = spec.attributes | special.attributes
    return _ClassBook(
        name=special.name if special.name is not None else name,
        templates=templates,
        attributes=tuple((word, values) for word, values in attributes.items() if word in used),
        negative=special.negative if special.negative is not None else spec.negative,
    )
