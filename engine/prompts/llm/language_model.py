"""The protocol of language models, and the types of its calls."""

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.prompts.llm.question_planner import Question
from engine.prompts.llm.response_parser import Response

AnsweredQuestion = tuple[Question, Response]
OnResponses = Callable[[Sequence[AnsweredQuestion]], None]
"""Is called with responses as soon as they are complete; those of one batch come together."""
Log = Callable[[str], None]


class LanguageModel(Protocol):
    """A model that answers questions."""

    def answer(self, questions: Sequence[Question], on_responses: OnResponses) -> None:
        """Answer all, in any order. `on_responses` gets every complete response before ModelError or AnswerError."""
