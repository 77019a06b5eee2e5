"""The protocol of language models, the types of its calls, and the model that a spec names."""

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.prompts.llm.backend_settings import OllamaSpec, ServerSpec, TransformersSpec, VisionSpec
from engine.prompts.llm.chat_protocols import OllamaChat, OpenAIChat
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


def load_language_model(spec: TransformersSpec | ServerSpec, log: Log) -> LanguageModel:
    """Return the model. Raises ModelError if it cannot be loaded, SpecError if the key of its server is missing."""
    # Each back end needs a heavy library, and none of the others'.
    if isinstance(spec, TransformersSpec):
        from engine.prompts.llm.transformers_model import TextModel, VisionModel

        return VisionModel(spec) if isinstance(spec, VisionSpec) else TextModel(spec)
    from engine.prompts.llm.chat_client import ChatClient

    return ChatClient(spec, OllamaChat(spec) if isinstance(spec, OllamaSpec) else OpenAIChat(spec), log)
