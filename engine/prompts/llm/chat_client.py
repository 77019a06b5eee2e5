"""Models behind HTTP: many requests at once, each answered as a whole within a time and a size, or sent again."""

import asyncio
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
from engine.prompts.llm.response_parser import Response
from engine.prompts.llm.backend_settings import ServerSpec
from engine.prompts.llm.chat_protocols import protocol_of
from engine.prompts.llm.language_model import OnResponses, Log
from engine.prompts.llm.question_planner import Question

_MOST_BYTES = 4 << 20
_LONGEST_BACKOFF = 60.0
_LONGEST_WAIT = 900.0


class _Again(Exception):
    """An attempt failed in a way that may pass; wait: the seconds that the server asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _Pace:
    """Gives requests their turn, evenly spaced, and none while the server wants to be left alone."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + self._interval
        await asyncio.sleep(at - now)

    def hold(self, seconds: float) -> None:
        """No turn for so long."""
        self._next = max(self._next, time.monotonic() + seconds)


class ChatClient:
    """A model behind an Ollama server or OpenAI's protocol. Its key is in no message, and in no answer."""

    def __init__(self, spec: ServerSpec, log: Log) -> None:
        self._spec, self._log = spec, log
        self._protocol = protocol_of(spec)
        self._key = _key(spec.api_key_env)
        self._pace = _Pace(spec.requests_per_minute)

    def answer(self, questions: Sequence[Question], done: OnResponses) -> None:
        """As Model.answer. Raises AnswerError when a request has failed in all its attempts, ModelError when the
        server turns it down."""
        try:
            asyncio.run(self._answer(questions, done))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _answer(self, questions: Sequence[Question], done: OnResponses) -> None:
        todo = iter(questions)
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

        async def work(client: httpx2.AsyncClient) -> None:
            for question in todo:
                done([(question, await self._ask(client, question))])

        # No timeout of its own: each attempt has a deadline as a whole.
        async with httpx2.AsyncClient(headers=headers, timeout=None) as client, asyncio.TaskGroup() as group:
            for _ in range(min(self._spec.parallel, len(questions))):
                group.create_task(work(client))

    async def _ask(self, client: httpx2.AsyncClient, question: Question) -> Response:
        spec, body = self._spec, self._protocol.body(question)
        for attempt in range(1, spec.attempts + 1):
            await self._pace.turn()
            try:
                return await self._attempt(client, body)
            except _Again as failure:
                wait = _backoff(question, attempt, spec.backoff_s) if failure.wait is None else failure.wait
                if attempt == spec.attempts or wait > _LONGEST_WAIT:
                    raise self._given_up(question, attempt, failure) from None
                self._log(f"{question}: {failure}; again in {wait:.1f} s, attempt {attempt + 1} of {spec.attempts}")
                if failure.wait is None:
                    await asyncio.sleep(wait)
                else:
                    self._pace.hold(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> Response:
        try:
            async with asyncio.timeout(self._spec.timeout_s):
                text = await self._post(client, body)
            answer = self._protocol.read(json.loads(text))
            return replace(answer, text=self._hide(answer.text))
        except TimeoutError:
            raise _Again(f"no whole answer within {self._spec.timeout_s:g} s") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _Again(f"{type(error).__name__} {error}".strip()) from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _Again("an answer that is not of the protocol's form") from None

    async def _post(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> str:
        """The body of an answer of status 200."""
        async with client.stream("POST", self._protocol.url, json=body) as response:
            received = bytearray()
            async for part in response.aiter_bytes():
                received += part
                if len(received) > _MOST_BYTES:
                    raise _Again(f"an answer of more than {_MOST_BYTES >> 20} MiB")
        text = received.decode(errors="replace")
        if response.status_code != 200:
            self._refuse(response, " ".join(self._hide(text).split())[:200])
        return text

    def _hide(self, text: str) -> str:
        """Without the key: a server may repeat what it was sent."""
        return text.replace(self._key, "***") if self._key else text

    def _refuse(self, response: httpx2.Response, said: str) -> None:
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise _Again(f"HTTP {status} {said}".strip(), _retry_after(response.headers.get("retry-after", "")))
        place = f"model.url: {self._protocol.url} answers {status} {said}".rstrip()
        if status in (401, 403):
            name = self._spec.api_key_env
            remedy = f"look at the key in ${name}" if name else "name the variable of its key in model.api_key_env"
            raise ModelError(f"{place}; {remedy}")
        raise ModelError(f"{place}; look at model.name ({self._spec.name}), its options and model.url")

    def _given_up(self, question: Question, attempt: int, failure: _Again) -> AnswerError:
        return AnswerError(
            f"{question}: {self._protocol.url} gave no answer in {attempt} attempts, the last time: {failure}\n"
            "what was answered is kept: mend the server, or raise model.attempts, and run the same command again"
        )


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SpecError(f"model.api_key_env: the environment variable {variable} is not set; export the key in it")
    if not (key.isascii() and key.isprintable()):
        raise SpecError(f"model.api_key_env: what {variable} holds cannot be a key: it has other than printable ASCII")
    return key


def _backoff(question: Question, attempt: int, first: float) -> float:
    """Doubled with each attempt, and spread so that requests that failed together do not come back together."""
    spread = Random(f"{question.seed} {attempt}").uniform(0.5, 1.5)
    return float(min(_LONGEST_BACKOFF, first * 2 ** (attempt - 1)) * spread)


def _retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which has a number or a date (RFC 9110, 10.2.3); None for anything else."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
