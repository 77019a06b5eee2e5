"""The answers of a job, on disk as soon as they are given, so that a job that was stopped never asks twice.

JSON lines: what decides the answers (seed, instruction, model), then for each call of the model a list of
[topic, number of the request, text, whether it was cut]. A call is there as a whole or not at all.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import OutputError, RunMismatch
from engine.prompts.llm.response_parser import Response
from engine.prompts.llm.language_model import AnsweredQuestion
from engine.prompts.llm.question_planner import ResponseKey


class ResponseCache:
    """`answers` by topic and number; what is added is safe when `add` returns."""

    def __init__(self, file: BinaryIO, answers: dict[ResponseKey, Response]) -> None:
        self._file = file
        self._answers = answers

    @property
    def answers(self) -> Mapping[ResponseKey, Response]:
        """All answers so far."""
        return self._answers

    def add(self, answered: Sequence[AnsweredQuestion]) -> None:
        """Keep the answers of one call."""
        _append(self._file, [[*question.key, answer.text, answer.cut] for question, answer in answered])
        self._answers |= {question.key: answer for question, answer in answered}


@contextmanager
def open_response_cache(path: Path, asked: Mapping[str, Any]) -> Iterator[ResponseCache]:
    """Begin a journal or go on with it, alone. A last line that a crash tore is dropped.

    Raises RunMismatch where it was begun with something else in `asked`, OutputError where it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            _lock(file, path)
            lines = _whole_lines(file)
            if not lines:
                _append(file, asked)
            else:
                _check(path, _parse(path, 1, lines[0]), asked)
            calls = [_parse(path, number, line) for number, line in enumerate(lines[1:], 2)]
            yield ResponseCache(
                file, {(key, number): Response(text, cut) for call in calls for key, number, text, cut in call}
            )
    except OSError as error:
        raise OutputError(f"{path}: {error}; make room or mend it, and run the same command again") from None


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{path}: another process is writing this bank; wait for it, or give another --out") from None


def _whole_lines(file: BinaryIO) -> list[bytes]:
    file.seek(0)
    *lines, torn = file.read().split(b"\n")
    file.truncate(file.tell() - len(torn))
    return lines


def _append(file: BinaryIO, content: Any) -> None:
    file.write(json.dumps(content).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _parse(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise OutputError(
            f"{path}, line {number} is damaged; remove that line, and its answers are asked again"
        ) from None


def _check(path: Path, begun: Any, asked: Mapping[str, Any]) -> None:
    from engine.config.spec_file import differences

    if found := differences(begun, dict(asked)):
        raise RunMismatch(
            f"{path} holds answers of another spec ({'; '.join(found[:3])}); give another --out, or take that back"
        )
