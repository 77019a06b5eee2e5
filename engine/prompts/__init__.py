"""From a slot to its prompt."""

from engine.prompts.book import Prompt, PromptBook

__all__ = ["Prompt", "PromptBook"]
