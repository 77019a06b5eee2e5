"""A small server that speaks Ollama's and OpenAI's protocols, with the failures of real servers.

A response follows from the question alone, as that of a model follows from prompt and seed.
The test chooses the failures.
"""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

Respond = Callable[["ChatRequest"], str]
Fail = Callable[["ChatRequest", int], str]
"""A function that returns the failure of a question at its nth arrival, counted from 0, or an empty string."""


@dataclass(frozen=True)
class ChatRequest:
    """A request that arrived."""

    text: str
    seed: int
    image: bytes
    authorization: str


@dataclass
class ChatServer:
    """The responses and failures of a server, and the requests that arrived."""

    respond: Respond
    fail: Fail = lambda request, nth: ""
    arrivals: list[tuple[float, ChatRequest]] = field(default_factory=list)
    finished: list[ChatRequest] = field(default_factory=list)
    port: int = 0
    most_at_once: int = 0
    _active: int = 0
    _arrivals_by_question: Counter[tuple[str, int]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def model(self, backend: str, **options: Any) -> dict[str, Any]:
        """Return the `model` of a spec."""
        url = f"http://127.0.0.1:{self.port}" + ("/v1" if backend == "openai" else "")
        return {"backend": backend, "name": "writer", "url": url, "timeout_s": 5.0, "backoff_s": 0.01, **options}

    def arrive(self, request: ChatRequest) -> str:
        with self._lock:
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
            self.arrivals.append((time.monotonic(), request))
            nth = self._arrivals_by_question[request.text, request.seed]
            self._arrivals_by_question[request.text, request.seed] += 1
            return self.fail(request, nth)

    def leave(self) -> None:
        with self._lock:
            self._active -= 1


@contextmanager
def serving(respond: Respond, fail: Fail = lambda request, nth: "") -> Iterator[ChatServer]:
    """Run a server on the loopback interface."""
    chat = ChatServer(respond, fail)
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"chat": chat}))
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # tests let clients hang up
    chat.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    """A connection. A subclass of each server sets `chat`."""

    chat: ChatServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise every response waits 40 ms for the client's acknowledgement

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = _read(self.path, body, self.headers.get("Authorization", ""))
        failure = self.chat.arrive(request)
        try:
            self._answer(request, failure)
        finally:
            self.chat.leave()

    def _answer(self, request: ChatRequest, failure: str) -> None:
        kind, _, value = failure.partition(" ")
        broken = {"malformed": b'{"message": {"content": "1. a ca', "strange": b'[{"content": 5}]'}
        if kind.isdigit():
            self._send(int(kind), json.dumps({"error": "busy", "headers": request.authorization}).encode(), value)
        elif kind in broken:
            self._send(200, broken[kind])
        elif kind == "hangup":
            self.close_connection = True
        elif kind == "endless":
            self._pour(b" " * 65536, 0.0)
        elif kind == "dribble":
            self._pour(b" ", 0.05)
        else:
            time.sleep(float(value) if kind == "slow" else 0.0)
            self._send(200, _answer(self.path, self.chat.respond(request)))
            self.chat.finished.append(request)

    def _send(self, status: int, data: bytes, retry_after: str = "") -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _pour(self, data: bytes, pause: float) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        until = time.monotonic() + 20
        while time.monotonic() < until:  # the client ends it by hanging up
            self.wfile.write(data)
            time.sleep(pause)


def _read(path: str, body: dict[str, Any], authorization: str) -> ChatRequest:
    (message,) = body["messages"]
    assert message["role"] == "user"
    if path == "/api/chat":
        assert body["stream"] is False
        image = message.get("images", [""])[0]
        return ChatRequest(message["content"], body["options"]["seed"], base64.b64decode(image), authorization)
    assert path == "/v1/chat/completions"
    content = message["content"]
    if isinstance(content, str):
        return ChatRequest(content, body["seed"], b"", authorization)
    image, text = content
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return ChatRequest(text["text"], body["seed"], base64.b64decode(data), authorization)


def _answer(path: str, text: str) -> bytes:
    if path == "/api/chat":
        return json.dumps({"message": {"role": "assistant", "content": text}, "done_reason": "stop"}).encode()
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice]}).encode()


def write(request: ChatRequest) -> str:
    """Respond to `Write COUNT prompts about CLASS` with chatter, repetitions, off-topic lines and refusals."""
    draw = Random(f"{request.seed} {request.text}")
    _, count, _, _, name = request.text.split(" ", 4)
    if draw.random() < 0.15:
        return "I'm sorry, but as an AI language model I cannot help with that.\nI do like every cat, dog and sea lion."
    words = ("red", "small", "old", "wet", "fast", "bright", "sleepy", "young", "thin", "big")
    places = ("grass", "snow", "a sofa", "a road", "sand", "a table")
    lines = [f"A {draw.choice(words)} {name} on {draw.choice(places)}." for _ in range(int(count))]
    lines[draw.randrange(len(lines))] = "A wide landscape at dusk."
    lines[0] = lines[0].upper()
    return "Sure, here are some prompts:\n\n" + "\n".join(f"{i}. **{line}**" for i, line in enumerate(lines, 1))
