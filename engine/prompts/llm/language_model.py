"""The protocol of a model that answers questions, and finding the one that a spec names."""

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.prompts.llm.answers import Response
from engine.prompts.llm.backends import OllamaSpec, OpenAISpec, TransformersSpec, VisionSpec
from engine.prompts.llm.question_planner import Question

Answered = tuple[Question, Response]
Done = Callable[[Sequence[Answered]], None]
"""Takes answers as soon as they are there; those that were made together, together."""
Log = Callable[[str], None]


class LanguageModel(Protocol):
    """Answers questions."""

    def answer(self, questions: Sequence[Question], done: Done) -> None:
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
    from engine.prompts.llm.chat_server import Server

    return Server(spec, log)
