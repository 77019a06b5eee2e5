"""The job `lint`: look for mistakes in the prompts of a run before any image is made."""

from dataclasses import dataclass

from engine.errors import DataError, ModelError
from engine.models.tokenizer_limits import text_limits
from engine.prompts.prompt_lint import lint_prompts
from engine.prompts.wordnet import WordNet
from engine.run.run_context import RunContext


@dataclass(frozen=True)
class PromptCheck:
    """Findings, one line each, and the checks that could not be made, with the reason."""

    findings: list[str]
    unchecked: list[str]


def check_prompts(context: RunContext) -> PromptCheck:
    """Check the prompts of a run; without a tokenizer or WordNet, what these would tell is left unchecked."""
    if not context.spec.model.takes_prompts:
        return PromptCheck([], [])
    unchecked, limits, meanings = [], [], None
    try:
        meanings = WordNet().likely_meanings
    except DataError as error:
        unchecked.append(f"what class names mean ({error})")
    try:
        limits = text_limits(context.spec.model)
    except ModelError as error:
        unchecked.append(f"the length of prompts ({error})")
    return PromptCheck(
        lint_prompts(context.prompts, limits, meanings, conditioned=context.spec.condition is not None), unchecked
    )
