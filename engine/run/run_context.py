"""What an actor needs besides its model: the spec, the plan and the inputs, and what follows from them."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from engine.config.condition_spec import RealCondition
from engine.config.spec import Spec
from engine.config.train_spec import TrainSpec
from engine.filters.filter import Filter, make_filters
from engine.generators.conditioning import ConditionSampler
from engine.generators.generator import ModelFacts, Request
from engine.prompts.prompt_sampler import PromptSampler
from engine.run.assets import Assets
from engine.run.plan import Plan, plan_of
from engine.types import Prompt, Slot
from shards.sample import Scalar

_NO_PROMPT = Prompt("", "", (), "class")


@dataclass(frozen=True)
class RunContext:
    """Spec, plan and inputs of a run."""

    spec: Spec
    plan: Plan
    inputs: Assets = field(default_factory=Assets)

    def with_batch_size(self, batch_size: int) -> Self:
        """The same in batches of another size, which is another plan: its digest names all that decides a byte."""
        spec = self.spec.model_copy(update={"model": self.spec.model.with_batch_size(batch_size)})
        plan = plan_of(spec, self.plan.classes, self.plan.real, self.plan.quotas, self.inputs.digests)
        return replace(self, spec=spec, plan=plan)

    @cached_property
    def prompts(self) -> PromptSampler:
        """The prompts of its slots."""
        plan = self.plan
        return PromptSampler(self.spec.prompts, plan.classes, plan.quotas, self.inputs.files, plan.seed)

    @cached_property
    def conditions(self) -> ConditionSampler | None:
        """The conditions of its slots; None where the generator takes none."""
        spec = self.spec
        if spec.condition is None:
            return None
        return ConditionSampler(spec.condition, self.inputs.condition, self.plan.classes, spec.mask_palette)

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """The filters that every image passes."""
        return make_filters(self.spec.filters, self.spec.cluster)

    def told_apart(self, train: TrainSpec) -> tuple[str, ...]:
        """What a network that is trained so tells apart: classes of images, or of the pixels of masks."""
        palette = self.spec.mask_palette
        return self.plan.classes if train.model != "unet" or palette is None else tuple(palette)

    def prompt(self, slot: Slot) -> Prompt:
        """What the generator is told, where it listens."""
        return self.prompts.prompt(slot) if self.spec.model.takes_prompts else _NO_PROMPT

    def request(self, slot: Slot, attempt: int) -> Request:
        """What the generator is asked for."""
        prompt, seed = self.prompt(slot), self.plan.seed_of(slot, attempt)
        book = self.conditions
        condition = None if book is None else book.condition(slot, seed, prompt.source)
        return Request(prompt, slot.label, self.plan.classes[slot.label], seed, attempt, condition)

    def metadata(self, slot: Slot, attempt: int, request: Request, facts: ModelFacts) -> dict[str, Scalar]:
        """All that a sample says of itself, but for its filters' scores. The same fields with the same types in every
        sample of a run: what differs in kind between samples, as attributes do, is JSON within a string."""
        prompt, condition, facts = request.prompt, request.condition, facts.of_class(request.class_name)
        found: dict[str, Scalar] = {
            "key": slot.key,
            "label": slot.label,
            "class_name": request.class_name,
            "synthetic": True,
            "generation": facts.generation,
            "prompt": prompt.text,
            "negative_prompt": prompt.negative,
            "strategy": prompt.strategy,
            "attributes": json.dumps(dict(prompt.attributes), ensure_ascii=False),
            "source": condition.source if condition is not None else prompt.source,
            "index": slot.index,
            "unit": slot.unit,
            "attempt": attempt,
            "seed": request.seed,
            "model": facts.model,
            "revision": facts.revision,
            "license": facts.license,
            "pipeline": facts.pipeline,
            "scheduler": facts.scheduler,
            "settings": facts.settings,
            "adapters": json.dumps([one.brief for one in facts.adapters]),
            "plan_digest": self.plan.digest,
        }
        if self.spec.condition is not None and not isinstance(self.spec.condition, RealCondition):
            found["mask_classes"] = json.dumps(self.spec.mask_palette, ensure_ascii=False)
        return found
