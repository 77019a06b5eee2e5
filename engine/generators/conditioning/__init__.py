"""Conditions of images besides the prompt: real images, their edges, and layouts whose masks are labels."""

from engine.generators.conditioning.condition import Condition
from engine.generators.conditioning.condition_sampler import ConditionSampler

__all__ = ["Condition", "ConditionSampler"]
