"""The request and response bodies of Ollama's and OpenAI's chat protocols."""

import base64
from typing import Any, Protocol

from engine.prompts.llm.backend_settings import OllamaSpec, OpenAISpec
from engine.prompts.llm.question_planner import Question
from engine.prompts.llm.response_parser import Response
from shards.codec import encode_rgb


class ChatProtocol(Protocol):
    """A protocol that answers one question per request."""

    url: str

    def request_body(self, question: Question) -> dict[str, Any]:
        """Return the JSON to post."""

    def parse(self, body: Any) -> Response:
        """Return the response in a body. Raises LookupError, TypeError or ValueError for any other content."""


class OllamaChat:
    """POST /api/chat (docs/api.md of Ollama)."""

    def __init__(self, spec: OllamaSpec) -> None:
        self._spec = spec
        self.url = spec.url.rstrip("/") + "/api/chat"

    def request_body(self, question: Question) -> dict[str, Any]:
        """Return the JSON to post, with the image beside the text, in base64."""
        spec = self._spec
        message: dict[str, Any] = {"role": "user", "content": question.topic.instruction}
        if question.topic.load_image is not None:
            message["images"] = [_base64_png(question)]
        options = {"seed": question.seed, "temperature": spec.temperature, "num_predict": spec.max_tokens}
        return {"model": spec.name, "messages": [message], "stream": False, "options": options}

    def parse(self, body: Any) -> Response:
        """Return message.content."""
        return Response(_text(body["message"]["content"]), body.get("done_reason") == "length")


class OpenAIChat:
    """POST /chat/completions (OpenAI's API reference)."""

    def __init__(self, spec: OpenAISpec) -> None:
        self._spec = spec
        self.url = spec.url.rstrip("/") + "/chat/completions"

    def request_body(self, question: Question) -> dict[str, Any]:
        """Return the JSON to post, with the image before the text, as a data URI."""
        spec = self._spec
        content: Any = question.topic.instruction
        if question.topic.load_image is not None:
            image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_base64_png(question)}"}}
            content = [image, {"type": "text", "text": content}]
        return {
            "model": spec.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": spec.max_tokens,
            "temperature": spec.temperature,
            "seed": question.seed,
        }

    def parse(self, body: Any) -> Response:
        """Return the message of the first choice, or the refusal that replaces it."""
        choice = body["choices"][0]
        message = choice["message"]
        return Response(_text(message.get("refusal") or message["content"]), choice.get("finish_reason") == "length")


def _base64_png(question: Question) -> str:
    assert question.topic.load_image is not None
    return base64.b64encode(encode_rgb(question.topic.load_image(), "png")).decode()


def _text(content: Any) -> str:
    if content is None:  # the model reached its limit while thinking
        return ""
    if not isinstance(content, str):
        raise TypeError(f"{type(content).__name__} instead of text")
    return content
