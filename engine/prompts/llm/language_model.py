"""The protocol of a model that answers questions, and finding the one that a spec names."""

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.prompts.llm.response_parser import Response
from engine.prompts.llm.backend_settings import OllamaSpec, OpenAISpec, TransformersSpec, VisionSpec
from engine.prompts.llm.question_planner import Question

AnsweredQuestion = tuple[Question, Response]
OnResponses = Callable[[Sequence[AnsweredQuestion]], None]
"""Takes answers as soon as they are there; those that were made together, together."""
Log = Callable[[str], None]


class LanguageModel(Protocol):
    """Answers questions."""

    def answer(self, questions: Sequence[Question], done: OnResponses) -> None:
        """Answer all of them, in any order. Raises ModelError or AnswerError; then `done` has had the ones before."""
        ...


def load_model(spec: TransformersSpec | OllamaSpec | OpenAISpec, log: Log) -> LanguageModel:
    """Raises ModelError where there is no such model here, SpecError where its key is missing."""
    # One import per branch: each needs its own library, and none of the others'.
    if isinstance(spec, VisionSpec):
        from engine.prompts.llm.transformers_model import VisionModel

        return VisionModel(spec)
    if isinstance(spec, TransformersSpec):
        from engine.prompts.llm.transformers_model import TextModel

        return TextModel(spec)
    from engine.prompts.llm.chat_client import ChatClient

    return ChatClient(spec, log)
