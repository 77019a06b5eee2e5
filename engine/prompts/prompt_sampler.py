"""The prompts of a run: which strategy a slot has, and what that makes of it."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.apportion import ends_of
from engine.config.prompts_spec import PLACEHOLDER, ClassPrompts, PromptsSpec, Strategy
from engine.errors import SpecError
from engine.prompts.attribute_clusters import AttributeClusters, read_attributes
from engine.prompts.prompt_bank import read_bank
from engine.prompts.prompt_templates import BankPrompts, PromptSource, PromptTemplates
from engine.seeds import sample_seed
from engine.types import Prompt, Slot


@dataclass(frozen=True)
class _ClassBook:
    """The strategies of one class. ends: the ordinal after the last one of each strategy."""

    names: tuple[str, ...]
    wordings: tuple[PromptSource, ...]
    ends: tuple[int, ...]
    negative: str

    def prompt(self, ordinal: int) -> Prompt:
        # Blocks of ordinals, for these are dealt over the whole run: every shard has its share of each strategy.
        which = min(bisect_right(self.ends, ordinal), len(self.ends) - 1)
        found = self.wordings[which].text(ordinal - (self.ends[which - 1] if which else 0))
        return Prompt(found.text, self.negative, found.attributes, self.names[which], found.source)


class PromptSampler:
    """The prompts of a run.

    quotas: images of each class, which the strategies divide by their shares.
    files:  where each file is that the spec names. Raises SpecError for one that is missing, empty or damaged.
    """

    def __init__(
        self, spec: PromptsSpec, classes: Sequence[str], quotas: Sequence[int], files: Mapping[str, Path], seed: int
    ) -> None:
        self.spec, self.classes, self.quotas = spec, tuple(classes), tuple(quotas)
        names = tuple(strategy.name for strategy in spec.strategies)
        shares = [strategy.share for strategy in spec.strategies]
        columns = [_wordings(strategy, spec, classes, quotas, files, seed) for strategy in spec.strategies]
        self._books = []
        for label, (name, quota, *wordings) in enumerate(zip(classes, quotas, *columns, strict=True)):
            ends = tuple(ends_of(quota, shares, turn=label))
            self._books.append(_ClassBook(names, tuple(wordings), ends, _negative(spec, name)))

    def prompt(self, slot: Slot) -> Prompt:
        """The prompt of a slot; every attempt at it has the same."""
        return self.at(slot.label, slot.ordinal)

    def at(self, label: int, ordinal: int) -> Prompt:
        """The prompt of the slot of a class with this ordinal."""
        return self._books[label].prompt(ordinal)

    def sources(self) -> Iterator[tuple[str, str]]:
        """(class, digest) of every real image that a prompt of a bank describes."""
        for name, book in zip(self.classes, self._books, strict=True):
            for wording in book.wordings:
                if isinstance(wording, BankPrompts):
                    yield from ((name, source) for _, source in wording.rows if source)


def _negative(spec: PromptsSpec, name: str) -> str:
    special = spec.classes.get(name, ClassPrompts())
    return special.negative if special.negative is not None else spec.negative


def _wordings(
    strategy: Strategy,
    spec: PromptsSpec,
    classes: Sequence[str],
    quotas: Sequence[int],
    files: Mapping[str, Path],
    seed: int,
) -> list[PromptSource]:
    """What a strategy says of each class."""
    if strategy.bank is not None:
        rows = read_bank(files[strategy.bank])
        for name, quota in zip(classes, quotas, strict=True):
            if quota and name not in rows:
                raise SpecError(
                    f"prompts.bank: {strategy.bank} has no prompt for class {name!r}; add some, or make none"
                )
        return [BankPrompts(rows.get(name, [])) for name in classes]
    lists: dict[str, tuple[str, ...]] = {}
    if strategy.clusters is not None:
        lists = read_attributes(files[strategy.clusters.path], classes)
    return [_templates(strategy, spec, name, label, lists, seed) for label, name in enumerate(classes)]


def _templates(
    strategy: Strategy, spec: PromptsSpec, name: str, label: int, lists: Mapping[str, tuple[str, ...]], seed: int
) -> PromptTemplates:
    special = spec.classes.get(name, ClassPrompts())
    templates = special.templates or strategy.templates
    used = set(_placeholders(templates))
    clusters = None
    if strategy.clusters is not None:
        clusters = AttributeClusters(lists[name], strategy.clusters.per_prompt, key=sample_seed(seed, label, 0))
    attributes = strategy.attributes | special.attributes
    return PromptTemplates(
        templates,
        special.name if special.name is not None else name,
        tuple((word, values) for word, values in attributes.items() if word in used),
        clusters,
    )


def _placeholders(templates: Sequence[str]) -> Iterator[str]:
    for template in templates:
        yield from PLACEHOLDER.findall(template)
