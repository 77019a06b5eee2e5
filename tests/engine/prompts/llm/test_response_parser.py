"""Tests of parsing responses: lists in many forms become prompts, other lines are rejected with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.prompts.llm.response_parser import ParsedLine, Response, contains_name, parse_caption, parse_prompts

TWO_PROMPTS = ["A black cat on a wall", "Two cats, asleep"]


@pytest.mark.parametrize(
    "text",
    [
        "A black cat on a wall\nTwo cats, asleep",
        "Sure, here are 2 prompts:\n\n1. A black cat on a wall\n2. Two cats, asleep\n\nI hope these cats help!",
        "1) **A black cat on a wall**\n2) **Two cats, asleep**",
        "(1) A black cat on a wall\r\n(2) Two cats, asleep",
        '- "A black cat on a wall"\n- “Two cats, asleep”',
        "* A black cat on a wall\n* _Two cats, asleep_",
        "Here’s what I came up with for the cat:\nPrompt 1: A black cat on a wall\nPrompt 2: Two cats, asleep",
        "### 1. A black cat on a wall\n### 2. Two cats, asleep",
        '```json\n[\n"A black cat on a wall",\n"Two cats, asleep"\n]\n```',
        "<think>A cat? I cannot decide.\n1. a cat\n2. a cat</think>\nA black cat on a wall\nTwo cats, asleep",
        "Certainly! Cats it is.\nA black  cat\ton a wall\nTwo cats,\x00asleep",
    ],
)
def test_lists_in_all_forms(text: str) -> None:
    assert parse_prompts(Response(text, False), ["cat"]) == [ParsedLine(text) for text in TWO_PROMPTS]


def test_numbers_of_a_prompt_are_kept() -> None:
    lines = parse_prompts(Response("3 cats on 1.5 metres of snow\n2 cats: one red", False), ["cat"])
    assert [line.text for line in lines] == ["3 cats on 1.5 metres of snow", "2 cats: one red"]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can’t help with that.\nA cat is a nice animal.",
        "As an AI language model, I have no eyes for a cat",
        "I cannot create images of a cat.",
        "Sorry, no cat today",
        "I am unable to describe the cat.",
    ],
)
def test_refusals(text: str) -> None:
    (line,) = parse_prompts(Response(text, False), ["cat"])
    assert line.rejection == "refusal"
    assert parse_caption(Response(text, False), ["cat"], "a cat: ")[0].rejection == "refusal"


def test_a_refusal_rejects_only_its_line() -> None:
    lines = parse_prompts(Response("1. A red cat\n2. I cannot write about a blue cat\n3. A dog", False), ["cat"])
    assert [line.rejection for line in lines] == ["", "refusal", "class name missing"]


@pytest.mark.parametrize("text", ["", " \n\n", "```\n```", "...", "Sure, here is the list:"])
def test_empty_responses(text: str) -> None:
    assert [line.rejection for line in parse_prompts(Response(text, False), ["cat"])] == ["empty response"]


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("1. A red cat\n2. A cat that jumps over a", ["A red cat"]),
        ("1. A red cat\n2. A cat. It jumps over a", ["A red cat", "A cat."]),
        ("1. A red cat\n2. A cat.", ["A red cat", "A cat."]),
        ("A cat that jumps over", []),
    ],
)
def test_a_truncated_response_keeps_whole_sentences(text: str, accepted: list[str]) -> None:
    lines = parse_prompts(Response(text, True), ["cat"])
    assert [line.text for line in lines if not line.rejection] == accepted
    assert accepted or [line.rejection for line in lines] == ["truncated"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("two Cats", ["cat"]), ("cat's eyes", ["cat"]), ("a SEA-LION", ["sea_lion"]), ("sea lions", ["sea_lion"]),
        ("puppies", ["puppy"]), ("wolves", ["wolf"]), ("knives", ["knife"]), ("glasses", ["glass"]),
        ("eine Größe", ["größe"]), ("A GRÖSSE", ["größe"]), ("cafe\u0301", ["caf\u00e9"]), ("a C++ book", ["c++"]),
        ("a sedan", ["automobile", "car", "sedan"]), ("the digit 3.", ["3"]),
    ],
)  # fmt: skip
def test_names_in_a_text(text: str, names: list[str]) -> None:
    assert contains_name(text, names)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("category", "cat"),
        ("concatenate", "cat"),
        ("a bobcat", "cat"),
        ("sea of lions", "sea_lion"),
        ("30", "3"),
        ("", "cat"),
    ],
)
def test_names_missing_in_a_text(text: str, name: str) -> None:
    assert not contains_name(text, [name])


def test_a_caption_gets_its_class_name() -> None:
    response = Response("Caption: A small animal on grass.\nIt is brown.", False)
    assert parse_caption(response, ["cat"], "a photo of a cat: ") == [
        ParsedLine("a photo of a cat: A small animal on grass.")
    ]
    assert [line.rejection for line in parse_caption(response, ["cat"], None)] == ["class name missing"]
    assert parse_caption(Response("A cat.", False), ["cat"], "a photo of a cat: ") == [ParsedLine("A cat.")]


@given(st.text(), st.booleans())
def test_any_text_gives_printable_lines(text: str, cut: bool) -> None:
    for line in parse_prompts(Response(text, cut), ["a"]):
        line.text.encode()
        assert line.text.isprintable()
        assert line.rejection or contains_name(line.text, ["a"])


def test_lone_surrogates_are_dropped() -> None:
    assert parse_prompts(Response("a cat \ud83d here", False), ["cat"]) == [ParsedLine("a cat here")]
