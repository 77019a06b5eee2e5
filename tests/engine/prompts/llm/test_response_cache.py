"""Tests of the response cache: responses are safe once they are added."""

from pathlib import Path

import pytest

from engine.errors import OutputError, RunMismatch
from engine.prompts.llm.question_planner import Question, Topic
from engine.prompts.llm.response_cache import open_response_cache
from engine.prompts.llm.response_parser import Response

IDENTITY = {"seed": 1, "model": {"name": "m", "temperature": 1.0}}
CALLS = [
    [("cat", 0, "1. a cät\n2. \ud83d"), ("dog", 0, "a dog")],
    [("cat", 1, "")],
    [("größe", 0, "x"), ("cat", 2, "y")],
]


def make_question(key: str, number: int) -> Question:
    return Question(Topic(key, key, (key,), f"about {key}", 1), number, 0)


def fill(path: Path) -> list[int]:
    """Add three calls, and return the size of the file after each."""
    sizes = []
    with open_response_cache(path, IDENTITY) as cache:
        for call in CALLS:
            cache.add([(make_question(key, number), Response(text, truncated=not text)) for key, number, text in call])
            sizes.append(path.stat().st_size)
    return sizes


def test_a_file_cut_at_any_byte_keeps_complete_calls(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    sizes = fill(whole)
    data = whole.read_bytes()
    cut = tmp_path / "cut.jsonl"
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        with open_response_cache(cut, IDENTITY) as cache:
            calls = CALLS[: sum(end <= size for end in sizes)]
            expected = {
                (key, number): Response(text, truncated=not text) for call in calls for key, number, text in call
            }
            assert cache.responses == expected
            cache.add([(make_question("after", 0), Response("z", False))])
        with open_response_cache(cut, IDENTITY) as cache:
            assert cache.responses == expected | {("after", 0): Response("z", False)}


def test_another_identity_is_refused_with_the_difference(tmp_path: Path) -> None:
    fill(tmp_path / "a.jsonl")
    other = {"seed": 1, "model": {"name": "n", "temperature": 1.0}}
    with pytest.raises(RunMismatch, match=r'model.name: "m" -> "n"'), open_response_cache(tmp_path / "a.jsonl", other):
        pass


def test_two_jobs_cannot_write_one_bank(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with (
        open_response_cache(path, IDENTITY),
        pytest.raises(OutputError, match="another process"),
        open_response_cache(path, IDENTITY),
    ):
        pass


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    fill(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + b"[[\n" + lines[3])
    with pytest.raises(OutputError, match="line 3 is damaged"), open_response_cache(path, IDENTITY):
        pass


def test_an_unwritable_path_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"), open_response_cache(tmp_path / "file" / "a.jsonl", IDENTITY):
        pass
