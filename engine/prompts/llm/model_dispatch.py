"""Loading the language model that a spec names, by the class of its settings."""

# Each back end is imported when it is needed: it needs a heavy library, and none of the others'.

from functools import singledispatch

from engine.prompts.llm.backend_settings import OllamaSpec, OpenAISpec, TransformersSpec, VisionSpec
from engine.prompts.llm.chat_protocols import OllamaChat, OpenAIChat
from engine.prompts.llm.language_model import LanguageModel, Log


@singledispatch
def load_language_model(spec: object, log: Log) -> LanguageModel:
    """Return the model. Raises ModelError if it cannot be loaded, SpecError if the key of its server is missing."""
    raise TypeError(f"{type(spec).__name__} are no settings of a language model")


@load_language_model.register
def _load_text_model(spec: TransformersSpec, log: Log) -> LanguageModel:
    from engine.prompts.llm.transformers_model import TextModel

    return TextModel(spec)


@load_language_model.register
def _load_vision_model(spec: VisionSpec, log: Log) -> LanguageModel:
    from engine.prompts.llm.transformers_model import VisionModel

    return VisionModel(spec)


@load_language_model.register
def _connect_to_ollama(spec: OllamaSpec, log: Log) -> LanguageModel:
    from engine.prompts.llm.chat_client import ChatClient

    return ChatClient(spec, OllamaChat(spec), log)


@load_language_model.register
def _connect_to_openai(spec: OpenAISpec, log: Log) -> LanguageModel:
    from engine.prompts.llm.chat_client import ChatClient

    return ChatClient(spec, OpenAIChat(spec), log)
