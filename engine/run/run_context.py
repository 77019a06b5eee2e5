"""All that an actor needs besides its model: spec, plan and assets, and the requests that follow from them."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from engine.config.condition_spec import RealCondition
from engine.config.spec import Spec
from engine.config.train_spec import TrainSpec
from engine.filters.filter import Filter, make_filters
from engine.generators.conditioning.condition import ConditionSampler
from engine.generators.generator import ModelFacts, Request
from engine.prompts.prompt_sampler import PromptSampler
from engine.run.assets import Assets
from engine.run.plan import Plan, plan_of
from engine.types import Prompt, Slot
from shards.sample import Scalar

_NO_PROMPT = Prompt("", "", (), "class")


@dataclass(frozen=True)
class RunContext:
    """The spec, the plan and the assets of a run. It is pickled to every actor."""

    spec: Spec
    plan: Plan
    assets: Assets = field(default_factory=Assets)

    def with_batch_size(self, batch_size: int) -> Self:
        """Return the context for batches of another size."""
        spec = self.spec.model_copy(update={"model": self.spec.model.with_batch_size(batch_size)})
        # Another plan, too: the digest covers everything that decides a byte, and the batch size does.
        plan = plan_of(spec, self.plan.classes, self.plan.real, self.plan.quotas, self.assets.digests)
        return replace(self, spec=spec, plan=plan)

    @cached_property
    def prompts(self) -> PromptSampler:
        """The prompt of each slot."""
        plan = self.plan
        return PromptSampler(self.spec.prompts, plan.classes, plan.quotas, self.assets.files, plan.seed)

    @cached_property
    def conditions(self) -> ConditionSampler | None:
        """The condition of each slot; None if the generator takes none."""
        spec = self.spec
        if spec.condition is None:
            return None
        return ConditionSampler(spec.condition, self.assets.condition, self.plan.classes, spec.mask_palette)

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """The filters, in the order of the spec."""
        return make_filters(self.spec.filters, self.spec.cluster)

    def label_names(self, train: TrainSpec) -> tuple[str, ...]:
        """Return the classes that a network with this training predicts: those of images, or of the pixels of masks."""
        palette = self.spec.mask_palette
        return tuple(palette) if train.model.labels_pixels and palette is not None else self.plan.classes

    def prompt(self, slot: Slot) -> Prompt:
        """Return the prompt of a slot; an empty one if the generator takes no prompts."""
        return self.prompts.prompt(slot) if self.spec.model.takes_prompts else _NO_PROMPT

    def request(self, slot: Slot, attempt: int) -> Request:
        """Return the generator's request for an attempt at a slot."""
        prompt, seed = self.prompt(slot), self.plan.seed_of(slot, attempt)
        conditions = self.conditions
        condition = None if conditions is None else conditions.condition(slot, seed, prompt.source)
        return Request(prompt, slot.label, self.plan.classes[slot.label], seed, attempt, condition)

    def metadata(self, slot: Slot, attempt: int, request: Request, facts: ModelFacts) -> dict[str, Scalar]:
        """Return the metadata of a sample, without its filters' scores and its size."""
        # Readers infer a schema from the first samples, so every sample has the same fields with the same types. What
        # has other keys in other samples, as attributes have, is JSON within a string.
        prompt, condition, facts = request.prompt, request.condition, facts.for_class(request.class_name)
        metadata: dict[str, Scalar] = {
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
            "adapters": json.dumps([adapter.summary for adapter in facts.adapters]),
            "plan_digest": self.plan.digest,
        }
        if self.spec.condition is not None and not isinstance(self.spec.condition, RealCondition):
            metadata["mask_classes"] = json.dumps(self.spec.mask_palette, ensure_ascii=False)
        return metadata
