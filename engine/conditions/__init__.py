"""What a generator is given besides a prompt: real images, their edges, and layouts whose masks are labels."""

from engine.conditions.base import Condition
from engine.conditions.book import ConditionBook

__all__ = ["Condition", "ConditionBook"]
