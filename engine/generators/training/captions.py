"""Captions: the class and the measured attributes of an image in words, in many orders and with parts left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from engine.generators.training.measures import WORDS
from engine.generators.training.spec import CaptionSpec

#: {listed} are attribute words joined by blanks, {clauses} the same ones after commas; both may be empty.
TEMPLATES = (
    "a {listed} handwritten digit {name}",
    "a {listed} handwritten {name}",
    "{listed} {name}",
    "the {listed} digit {name}",
    "handwritten digit {name} {clauses}",
    "a handwritten {name} {clauses}",
    "an image of a {listed} {name}",
    "a photo of the handwritten number {name} {clauses}",
    "{name} {clauses}",
    "a {listed} handwritten digit, class {name}",
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def vocabulary(classes: Sequence[str]) -> tuple[str, ...]:
    """Every word that a caption may hold, in a fixed order, each once."""
    text = " ".join([*TEMPLATES, *classes, *(word for words in WORDS.values() for word in words)])
    for field in ("listed", "clauses", "name"):
        text = text.replace("{" + field + "}", " ")
    return tuple(dict.fromkeys(re.findall(r"[a-z]+", text.lower())))


def caption(name: str, label: int, words: Mapping[str, str], spec: CaptionSpec, rng: np.random.Generator) -> str:
    """One caption of an image of class `name`; draws which facts to tell, their order and the wording."""
    if rng.random() < spec.drop_all:
        return ""
    told = [words[attribute] for attribute in rng.permutation(sorted(words)) if rng.random() >= spec.drop_attribute]
    if rng.random() < spec.drop_class:
        name = ""
    elif rng.random() < 0.1:
        name = str(label)
    template = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    clauses = ", " + ", ".join(told) if told else ""
    text = template.format(name=name, listed=" ".join(told), clauses=clauses)
    if rng.random() < spec.strange_word:
        text = _with_strange_word(text, rng)
    return " ".join(text.split())


def _with_strange_word(text: str, rng: np.random.Generator) -> str:
    """Put a random word somewhere: what an unseen word of a prompt looks like to the tokenizer."""
    word = "".join(rng.choice(list(_LETTERS), size=int(rng.integers(2, 7))))
    parts = text.split()
    parts.insert(int(rng.integers(len(parts) + 1)), word)
    return " ".join(parts)


def plain_prompts(classes: Sequence[str], count: int) -> Iterator[tuple[int, str]]:
    """`count` prompts without attributes, classes in turn, as (label, prompt)."""
    for index in range(count):
        label = index % len(classes)
        yield label, f"a handwritten digit {classes[label]}"
