"""Captions: the class and the measured attributes of an image in words, in many orders and with parts left out."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from engine.training.generator.generator_spec import CaptionSpec
from engine.training.generator.image_attributes import ATTRIBUTES

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def vocabulary(classes: Sequence[str], attributes: Sequence[str], spec: CaptionSpec) -> tuple[str, ...]:
    """Return every word that a caption may hold, in a fixed order, each once."""
    words = [word for name in attributes for word in ATTRIBUTES[name].words]
    aliases = [alias for others in spec.aliases.values() for alias in others]
    empty = [template.format(listed="", clauses="", name="") for template in spec.templates]
    text = " ".join([*empty, *classes, *words, *aliases])
    return tuple(dict.fromkeys(re.findall(r"[a-z]+", text.lower())))


def caption(name: str, words: Mapping[str, str], spec: CaptionSpec, rng: np.random.Generator) -> str:
    """Return a caption of an image of class `name`. Which facts it holds, their order and its wording are drawn."""
    if rng.random() < spec.drop_all:
        return ""
    facts = [words[attribute] for attribute in rng.permutation(sorted(words)) if rng.random() >= spec.drop_attribute]
    if rng.random() < spec.drop_class:
        name = ""
    elif rng.random() < spec.alias:
        aliases = spec.aliases.get(name, (name,))
        name = aliases[int(rng.integers(len(aliases)))]
    text = _fill(spec.templates[int(rng.integers(len(spec.templates)))], name, facts)
    return _with_strange_word(text, rng) if rng.random() < spec.strange_word else text


def prompt(spec: CaptionSpec, name: str, *words: str) -> str:
    """Return the first template with these attribute words: the prompt of the quality measurement."""
    return _fill(spec.templates[0], name, words)


def plain_prompts(classes: Sequence[str], count: int, spec: CaptionSpec) -> Iterator[tuple[int, str]]:
    """Yield `count` prompts without attributes as (label, prompt), cycling through the classes."""
    for index in range(count):
        label = index % len(classes)
        yield label, prompt(spec, classes[label])


def _fill(template: str, name: str, words: Sequence[str]) -> str:
    clauses = ", " + ", ".join(words) if words else ""
    return " ".join(template.format(name=name, listed=" ".join(words), clauses=clauses).split())


def _with_strange_word(text: str, rng: np.random.Generator) -> str:
    """Insert a random word at a random place, so that the model learns to ignore unknown words of prompts."""
    word = "".join(rng.choice(list(_LETTERS), size=int(rng.integers(2, 7))))
    parts = text.split()
    parts.insert(int(rng.integers(len(parts) + 1)), word)
    return " ".join(parts)
