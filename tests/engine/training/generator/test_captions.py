"""Captions and the tokenizer carry the class, its other names and the attribute words."""

import numpy as np
import pytest
from pydantic import ValidationError

from engine.training.generator.captions import caption, plain_prompts, prompt, vocabulary
from engine.training.generator.generator_spec import CaptionSpec
from engine.training.generator.image_attributes import ATTRIBUTES
from engine.training.generator.text_encoder import make_tokenizer

CLASSES = ("zero", "one", "two")
STROKES = ("weight", "slant", "size", "contrast")
TEMPLATES = ("a {listed} handwritten digit {name}", "{name} {clauses}", "the {listed} {name}")
ALIASES = {"two": ("2", "deuce")}
SPEC = CaptionSpec(templates=TEMPLATES, aliases=ALIASES)
ALL = CaptionSpec(templates=TEMPLATES, aliases=ALIASES, drop_attribute=0, drop_class=0, drop_all=0, strange_word=0)
FACTS = {"weight": "bold", "slant": "left-leaning", "size": "small", "contrast": "faint"}


def test_a_caption_holds_every_fact_if_nothing_is_dropped() -> None:
    for seed in range(40):
        text = caption("two", FACTS, ALL, np.random.default_rng(seed))
        assert all(word in text for word in FACTS.values())
        assert {"two", "2", "deuce"} & set(text.replace(",", "").split())


def test_aliases_replace_a_class_name_as_often_as_the_spec_says() -> None:
    rng = np.random.default_rng(0)
    often = ALL.model_copy(update={"alias": 0.4})
    texts = [caption("two", {}, often, rng) for _ in range(600)]
    assert np.mean([" 2" in f" {text}" for text in texts]) == pytest.approx(0.2, abs=0.06)
    assert np.mean(["two" in text for text in texts]) == pytest.approx(0.6, abs=0.07)
    assert all("one" in caption("one", {}, often, rng) for _ in range(50))


def test_facts_are_dropped_and_orders_change() -> None:
    rng = np.random.default_rng(0)
    texts = [caption("two", FACTS, SPEC, rng) for _ in range(300)]
    assert "" in texts
    assert 0.5 < np.mean(["bold" in text for text in texts]) < 0.75
    assert len(set(texts)) > 150


def test_quality_prompts_use_the_first_template() -> None:
    assert prompt(SPEC, "two", "bold", "small") == "a bold small handwritten digit two"
    assert list(plain_prompts(CLASSES, 4, SPEC))[3] == (0, "a handwritten digit zero")


@pytest.mark.parametrize(
    "templates",
    [
        ("a photo of {class}",),
        ("a {listed} photo",),
        ("a photo of a {name}",),
        ("{listed} {name}", "it {0}"),
        ("{listed} {name!r}",),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(templates: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="must hold"):
        CaptionSpec(templates=templates)


def test_every_known_word_is_one_token() -> None:
    words = vocabulary(CLASSES, tuple(ATTRIBUTES), SPEC)
    assert {"deuce", "handwritten", "leaning", "vivid", "two"} <= set(words)
    tokenizer = make_tokenizer(words, 24)
    for word in words:
        assert tokenizer.tokenize(word) == [word + "</w>"]
    ids = tokenizer(["A BOLD two, zebra 3 größe"], padding="max_length", truncation=True).input_ids[0]
    assert len(ids) == 24
    assert tokenizer.unk_token_id in ids


def test_the_tokenizer_survives_being_saved(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tokenizer = make_tokenizer(vocabulary(CLASSES, STROKES, SPEC), 24)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    text = "a thin left-leaning handwritten digit two, qux"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.model_max_length == 24
