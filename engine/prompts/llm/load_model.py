"""Loading the language model that a spec names."""

from engine.prompts.llm.backend_settings import OllamaSpec, ServerSpec, TransformersSpec, VisionSpec
from engine.prompts.llm.chat_protocols import OllamaChat, OpenAIChat
from engine.prompts.llm.language_model import LanguageModel, Log


def load_language_model(spec: TransformersSpec | ServerSpec, log: Log) -> LanguageModel:
    """Return the model. Raises ModelError if it cannot be loaded, SpecError if the key of its server is missing."""
    # Each back end needs a heavy library, and none of the others'.
    if isinstance(spec, TransformersSpec):
        from engine.prompts.llm.transformers_model import TextModel, VisionModel

        return VisionModel(spec) if isinstance(spec, VisionSpec) else TextModel(spec)
    from engine.prompts.llm.chat_client import ChatClient

    return ChatClient(spec, OllamaChat(spec) if isinstance(spec, OllamaSpec) else OpenAIChat(spec), log)
