"""A client of chat servers: concurrent requests, each with a deadline and a size limit, repeated after failures."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any

import httpx2

from engine.errors import AnswerError, ModelError, SpecError
from engine.prompts.llm.backend_settings import OllamaSpec, OpenAISpec, ServerSpec
from engine.prompts.llm.language_model import Log, OnResponses
from engine.prompts.llm.question_planner import Question
from engine.prompts.llm.response_parser import Response
from shards.codec import encode_rgb

_MAX_BYTES = 4 << 20
_MAX_BACKOFF_S = 60.0
_MAX_RETRY_AFTER_S = 900.0


class _OllamaChat:
    """POST /api/chat (docs/api.md of Ollama), with the image beside the text."""

    def __init__(self, spec: OllamaSpec) -> None:
        self._spec = spec
        self.url = spec.url.rstrip("/") + "/api/chat"

    def request_body(self, question: Question) -> dict[str, Any]:
        spec = self._spec
        message: dict[str, Any] = {"role": "user", "content": question.topic.instruction}
        if question.topic.load_image is not None:
            message["images"] = [_base64_png(question)]
        options = {"seed": question.seed, "temperature": spec.temperature, "num_predict": spec.max_tokens}
        return {"model": spec.name, "messages": [message], "stream": False, "options": options}

    def parse(self, body: Any) -> Response:
        return Response(_text(body["message"]["content"]), body.get("done_reason") == "length")


class _OpenAIChat:
    """POST /chat/completions (OpenAI's API reference), with the image before the text."""

    def __init__(self, spec: OpenAISpec) -> None:
        self._spec = spec
        self.url = spec.url.rstrip("/") + "/chat/completions"

    def request_body(self, question: Question) -> dict[str, Any]:
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


class _RetryableError(Exception):
    """A failed attempt that may succeed later. retry_after: seconds that the server asks to wait."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _RateLimiter:
    """A schedule of evenly spaced requests, which can be paused."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._interval
        await asyncio.sleep(start - now)

    def pause(self, seconds: float) -> None:
        self._next = max(self._next, time.monotonic() + seconds)


class ChatClient:
    """A model behind a server. Its key appears in no message and in no response."""

    def __init__(self, spec: ServerSpec, log: Log) -> None:
        self._spec, self._log = spec, log
        self._protocol = _OllamaChat(spec) if isinstance(spec, OllamaSpec) else _OpenAIChat(spec)
        self._key = _read_key(spec.api_key_env)
        self._limiter = _RateLimiter(spec.requests_per_minute)

    def answer(self, questions: Sequence[Question], on_responses: OnResponses) -> None:
        """Answer all questions. Raises AnswerError after the last attempt, ModelError if the server refuses one."""
        try:
            asyncio.run(self._answer(questions, on_responses))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _answer(self, questions: Sequence[Question], on_responses: OnResponses) -> None:
        remaining = iter(questions)
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

        async def work(client: httpx2.AsyncClient) -> None:
            for question in remaining:
                on_responses([(question, await self._ask(client, question))])

        # The client gets no timeout because `_attempt` limits the time of each attempt as a whole.
        async with httpx2.AsyncClient(headers=headers, timeout=None) as client, asyncio.TaskGroup() as group:
            for _ in range(min(self._spec.parallel, len(questions))):
                group.create_task(work(client))

    async def _ask(self, client: httpx2.AsyncClient, question: Question) -> Response:
        spec, body = self._spec, self._protocol.request_body(question)
        for attempt in range(1, spec.attempts + 1):
            await self._limiter.wait()
            try:
                return await self._attempt(client, body)
            except _RetryableError as error:
                retry_after = error.retry_after
                delay = _backoff(question, attempt, spec.backoff_s) if retry_after is None else retry_after
                if attempt == spec.attempts or delay > _MAX_RETRY_AFTER_S:
                    raise AnswerError(
                        f"{question}: no usable response from {self._protocol.url} after {attempt} attempts; "
                        f"last failure: {error}\n"
                        "responses so far are kept: repair the server, or raise model.attempts, and run the same "
                        "command again"
                    ) from None
                self._log(f"{question}: {error}; retry in {delay:.1f} s, attempt {attempt + 1} of {spec.attempts}")
                if retry_after is None:
                    await asyncio.sleep(delay)
                else:  # holds for all requests to this server
                    self._limiter.pause(delay)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> Response:
        try:
            async with asyncio.timeout(self._spec.timeout_s):
                text = await self._post(client, body)
            response = self._protocol.parse(json.loads(text))
            return replace(response, text=self._hide_key(response.text))
        except TimeoutError:
            raise _RetryableError(f"no complete response within {self._spec.timeout_s:g} s") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _RetryableError(f"{type(error).__name__} {error}".strip()) from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _RetryableError("a response that does not follow the protocol") from None

    async def _post(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> str:
        """Return the body of a response with status 200."""
        async with client.stream("POST", self._protocol.url, json=body) as response:
            received = bytearray()
            async for part in response.aiter_bytes():
                received += part
                if len(received) > _MAX_BYTES:
                    raise _RetryableError(f"a response of more than {_MAX_BYTES >> 20} MiB")
        text = received.decode(errors="replace")
        if response.status_code != 200:
            self._raise_status(response, " ".join(self._hide_key(text).split())[:200])
        return text

    def _hide_key(self, text: str) -> str:
        """Return the text without the key, which a server may repeat from the request."""
        return text.replace(self._key, "***") if self._key else text

    def _raise_status(self, response: httpx2.Response, text: str) -> None:
        status = response.status_code
        if status in (408, 429) or status >= 500:
            retry_after = _parse_retry_after(response.headers.get("retry-after", ""))
            raise _RetryableError(f"HTTP {status} {text}".strip(), retry_after)
        place = f"model.url: {self._protocol.url} returned HTTP {status} {text}".rstrip()
        if status in (401, 403):
            variable = self._spec.api_key_env
            remedy = f"check the key in ${variable}" if variable else "set model.api_key_env to the variable of its key"
            raise ModelError(f"{place}; {remedy}")
        raise ModelError(f"{place}; check model.name ({self._spec.name}), its options and model.url")


def _read_key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SpecError(f"model.api_key_env: the environment variable {variable} is not set; export the key in it")
    if not (key.isascii() and key.isprintable()):
        raise SpecError(f"model.api_key_env: the value of {variable} is no key: not all of it is printable ASCII")
    return key


def _backoff(question: Question, attempt: int, first: float) -> float:
    """Return a delay in seconds that doubles with each attempt, with jitter so that failed requests spread out."""
    jitter = Random(f"{question.seed} {attempt}").uniform(0.5, 1.5)
    return float(min(_MAX_BACKOFF_S, first * 2 ** (attempt - 1)) * jitter)


def _parse_retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3); None for anything else."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
