"""The responses of a job on disk, so that a resumed job repeats no question.

The first JSON line is the identity of the spec. Each other line holds the responses of one call of the model: a list of
[topic, number of the question, text, truncated].
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from engine.config.spec_file import differences
from engine.errors import OutputError, RunMismatch
from engine.prompts.llm.language_model import AnsweredQuestion
from engine.prompts.llm.question_planner import ResponseKey
from engine.prompts.llm.response_parser import Response


class ResponseCache:
    """An open cache. Responses are safe on disk when `add` returns."""

    def __init__(self, file: BinaryIO, responses: dict[ResponseKey, Response]) -> None:
        self._file = file
        self.responses = responses

    def add(self, answered: Sequence[AnsweredQuestion]) -> None:
        """Write the responses of one call of the model."""
        _append(self._file, [[*question.key, response.text, response.truncated] for question, response in answered])
        self.responses |= {question.key: response for question, response in answered}


@contextmanager
def open_response_cache(path: Path, identity: Mapping[str, Any]) -> Iterator[ResponseCache]:
    """Open a locked cache. Raises RunMismatch for another identity, OutputError if it cannot be used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            _lock(file, path)
            lines = _complete_lines(file)
            if not lines:
                _append(file, identity)
            else:
                _check_identity(path, _parse(path, 1, lines[0]), identity)
            calls = [_parse(path, number, line) for number, line in enumerate(lines[1:], 2)]
            rows = (row for call in calls for row in call)
            yield ResponseCache(file, {(key, number): Response(text, cut) for key, number, text, cut in rows})
    except OSError as error:
        raise OutputError(f"{path}: {error}; free space or repair it, and run the same command again") from None


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{path}: another process writes this bank; wait for it, or choose another --out") from None


def _complete_lines(file: BinaryIO) -> list[bytes]:
    """Return the complete lines, and cut an incomplete last one off the file."""
    file.seek(0)
    *lines, incomplete = file.read().split(b"\n")
    file.truncate(file.tell() - len(incomplete))
    return lines


def _append(file: BinaryIO, content: Any) -> None:
    file.write(json.dumps(content).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _parse(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise OutputError(f"{path}, line {number} is damaged; remove it, and its questions are repeated") from None


def _check_identity(path: Path, recorded: Any, identity: Mapping[str, Any]) -> None:
    if changes := differences(recorded, dict(identity)):
        raise RunMismatch(
            f"{path} holds responses for another spec ({'; '.join(changes[:3])}); choose another --out, or undo that"
        )
