"""The prompt of each slot of a run: the strategy of the slot, and the text of that strategy."""

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
class _ClassSampler:
    """The prompts of one class. ends: the ordinal after the last slot of each strategy."""

    strategies: tuple[str, ...]
    sources: tuple[PromptSource, ...]
    ends: tuple[int, ...]
    negative: str

    def prompt(self, ordinal: int) -> Prompt:
        # A strategy has a contiguous range of ordinals. The plan spreads ordinals over the whole run, so every shard
        # gets its share of each strategy.
        index = min(bisect_right(self.ends, ordinal), len(self.ends) - 1)
        start = self.ends[index - 1] if index else 0
        text = self.sources[index].text(ordinal - start)
        return Prompt(text.text, self.negative, text.attributes, self.strategies[index], text.source)


class PromptSampler:
    """The prompts of a run. quotas: images of each class. files: location of each of the spec's. Raises SpecError."""

    def __init__(
        self, spec: PromptsSpec, classes: Sequence[str], quotas: Sequence[int], files: Mapping[str, Path], seed: int
    ) -> None:
        self.spec, self.classes, self.quotas = spec, tuple(classes), tuple(quotas)
        self._files, self._seed = files, seed
        names = tuple(strategy.name for strategy in spec.strategies)
        shares = [strategy.share for strategy in spec.strategies]
        sources_by_class = zip(*(self._sources(strategy) for strategy in spec.strategies), strict=True)
        self._samplers = [
            _ClassSampler(
                names, sources, tuple(ends_of(quota, shares, turn=label)), self._negative(self.classes[label])
            )
            for label, (quota, sources) in enumerate(zip(quotas, sources_by_class, strict=True))
        ]

    def prompt(self, slot: Slot) -> Prompt:
        """Return the prompt of a slot, which is the same for every attempt."""
        return self.prompt_at(slot.label, slot.ordinal)

    def prompt_at(self, label: int, ordinal: int) -> Prompt:
        """Return the prompt of the slot of a class with this ordinal."""
        return self._samplers[label].prompt(ordinal)

    def described_images(self) -> Iterator[tuple[str, str]]:
        """Yield (class, SHA-256) of every real image that a prompt of a bank describes."""
        for name, sampler in zip(self.classes, self._samplers, strict=True):
            for source in sampler.sources:
                if isinstance(source, BankPrompts):
                    yield from ((name, digest) for _, digest in source.rows if digest)

    def _exception(self, name: str) -> ClassPrompts:
        return self.spec.classes.get(name, ClassPrompts())

    def _negative(self, name: str) -> str:
        negative = self._exception(name).negative
        return self.spec.negative if negative is None else negative

    def _sources(self, strategy: Strategy) -> Sequence[PromptSource]:
        if strategy.bank is not None:
            return self._bank_sources(strategy.bank)
        attributes: dict[str, tuple[str, ...]] = {}
        if strategy.clusters is not None:
            attributes = read_attributes(self._files[strategy.clusters.path], self.classes)
        return [self._templates(strategy, label, attributes.get(name, ())) for label, name in enumerate(self.classes)]

    def _bank_sources(self, bank: str) -> list[BankPrompts]:
        rows = read_bank(self._files[bank])
        for name, quota in zip(self.classes, self.quotas, strict=True):
            if quota and name not in rows:
                raise SpecError(
                    f"prompts.bank: {bank} has no prompt for class {name!r}; add some, or plan no image of it"
                )
        return [BankPrompts(rows.get(name, [])) for name in self.classes]

    def _templates(self, strategy: Strategy, label: int, cluster_attributes: Sequence[str]) -> PromptTemplates:
        name = self.classes[label]
        exception = self._exception(name)
        templates = exception.templates or strategy.templates
        placeholders = {word for template in templates for word in PLACEHOLDER.findall(template)}
        clusters = None
        if strategy.clusters is not None:
            key = sample_seed(self._seed, label, 0)
            clusters = AttributeClusters(cluster_attributes, strategy.clusters.per_prompt, key)
        attributes = strategy.attributes | exception.attributes
        return PromptTemplates(
            templates,
            name if exception.name is None else exception.name,
            tuple((word, values) for word, values in attributes.items() if word in placeholders),
            clusters,
        )
