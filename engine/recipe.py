"""What an actor needs besides its model: the spec and the plan, and what follows from them."""

import json
from dataclasses import dataclass
from functools import cached_property

from engine.filters import Filter, make_filters
from engine.generators.base import ModelFacts, Request
from engine.plan import Plan, Slot
from engine.prompts import PromptBook
from engine.spec import Spec
from shards.sample import Scalar


@dataclass(frozen=True)
class Recipe:
    """Spec and plan of a run."""

    spec: Spec
    plan: Plan

    @cached_property
    def prompts(self) -> PromptBook:
        """The prompts of its slots."""
        return PromptBook(self.spec.prompts, self.plan.classes)

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """The filters that every image passes."""
        return make_filters(self.spec.filters)

    def request(self, slot: Slot, attempt: int) -> Request:
        """What the generator is asked for."""
        return Request(self.prompts.prompt(slot), slot.label, self.plan.seed_of(slot, attempt))

    def metadata(self, slot: Slot, attempt: int, facts: ModelFacts) -> dict[str, Scalar]:
        """All that a sample says of itself, but for its filters' scores. The same fields with the same types in every
        sample of a run: what differs in kind between samples, the attributes, is JSON within a string."""
        request, model = self.request(slot, attempt), self.spec.model
        return {
            "key": slot.key,
            "label": slot.label,
            "class_name": self.plan.classes[slot.label],
            "synthetic": True,
            "generation": facts.generation,
            "prompt": request.prompt.text,
            "negative_prompt": request.prompt.negative,
            "attributes": json.dumps(dict(request.prompt.attributes), ensure_ascii=False),
            "index": slot.index,
            "unit": slot.unit,
            "attempt": attempt,
            "seed": request.seed,
            "model": facts.model,
            "revision": facts.revision,
            "license": facts.license,
            "pipeline": facts.pipeline,
            "scheduler": facts.scheduler,
            "steps": model.steps,
            "guidance": float(model.guidance),
            "plan_digest": self.plan.digest,
        }
