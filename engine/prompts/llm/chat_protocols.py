"""What is sent to a server and what comes back, in Ollama's way and in OpenAI's."""

import base64
from typing import Any, Protocol

from engine.prompts.llm.response_parser import Response
from engine.prompts.llm.backend_settings import OllamaSpec, OpenAISpec, ServerSpec
from engine.prompts.llm.question_planner import Question
from shards.codec import encode_rgb


class ChatProtocol(Protocol):
    """One question, one answer."""

    url: str

    def body(self, question: Question) -> dict[str, Any]:
        """What is posted, as JSON."""
        ...

    def read(self, found: Any) -> Response:
        """What came back. Raises LookupError, TypeError or ValueError for another form."""
        ...


def protocol_of(spec: ServerSpec) -> ChatProtocol:
    """The protocol that a spec's server speaks."""
    return OllamaChat(spec) if isinstance(spec, OllamaSpec) else OpenAIChat(spec)


class OllamaChat:
    """POST /api/chat (docs/api.md of Ollama)."""

    def __init__(self, spec: OllamaSpec) -> None:
        self._spec = spec
        self.url = spec.url.rstrip("/") + "/api/chat"

    def body(self, question: Question) -> dict[str, Any]:
        """Images go beside the text, in base64."""
        spec = self._spec
        message: dict[str, Any] = {"role": "user", "content": question.topic.instruction}
        if question.topic.show is not None:
            message["images"] = [_png(question)]
        options = {"seed": question.seed, "temperature": spec.temperature, "num_predict": spec.max_tokens}
        return {"model": spec.name, "messages": [message], "stream": False, "options": options}

    def read(self, found: Any) -> Response:
        """message.content, cut if done_reason says so."""
        return Response(_text(found["message"]["content"]), found.get("done_reason") == "length")


class OpenAIChat:
    """POST /chat/completions (OpenAI's API reference)."""

    def __init__(self, spec: OpenAISpec) -> None:
        self._spec = spec
        self.url = spec.url.rstrip("/") + "/chat/completions"

    def body(self, question: Question) -> dict[str, Any]:
        """An image goes before the text, as a data URI."""
        spec = self._spec
        content: Any = question.topic.instruction
        if question.topic.show is not None:
            image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png(question)}"}}
            content = [image, {"type": "text", "text": content}]
        return {
            "model": spec.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": spec.max_tokens,
            "temperature": spec.temperature,
            "seed": question.seed,
        }

    def read(self, found: Any) -> Response:
        """The message of the first choice, or the refusal that stands in its place."""
        choice = found["choices"][0]
        message = choice["message"]
        return Response(_text(message.get("refusal") or message["content"]), choice.get("finish_reason") == "length")


def _png(question: Question) -> str:
    assert question.topic.show is not None
    return base64.b64encode(encode_rgb(question.topic.show(), "png")).decode()


def _text(found: Any) -> str:
    if found is None:  # stopped while it was still thinking
        return ""
    if not isinstance(found, str):
        raise TypeError(f"{type(found).__name__} instead of text")
    return found
