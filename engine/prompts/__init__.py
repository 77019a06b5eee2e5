"""From a slot to its prompt."""

from engine.prompts.prompt_sampler import Prompt, PromptSampler

__all__ = ["Prompt", "PromptSampler"]
