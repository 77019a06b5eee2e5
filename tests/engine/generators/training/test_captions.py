"""Measures mean what they say on drawn strokes; captions and the tokenizer carry them."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.generators.training.captions import caption, vocabulary
from engine.generators.training.measures import WORDS, Thresholds, measure
from engine.generators.training.spec import CaptionSpec
from engine.generators.training.text import make_tokenizer

CLASSES = ("zero", "one", "two")
ALL = CaptionSpec(drop_attribute=0, drop_class=0, drop_all=0, strange_word=0)
FACTS = {"weight": "bold", "slant": "left-leaning", "size": "small", "contrast": "faint"}


def stroke(width: int = 4, lean: int = 0, length: int = 20, level: int = 255) -> NDArray[np.uint8]:
    """A line through the middle of a 32x32 image; `lean` moves its top to the right, in pixels."""
    image = np.zeros((32, 32), np.uint8)
    half = length // 2
    cv2.line(image, (16 - lean, 16 + half), (16 + lean, 16 - half), level, width)
    return image


def test_weight_is_the_stroke_width_and_ignores_contrast_and_length() -> None:
    widths = [measure(stroke(width))["weight"] for width in (2, 4, 6, 8)]
    assert widths == sorted(widths)
    assert measure(stroke(6))["weight"] == pytest.approx(6, abs=2)
    assert measure(stroke(4, level=100))["weight"] == pytest.approx(measure(stroke(4))["weight"], rel=0.01)


def test_slant_is_an_angle_positive_to_the_right() -> None:
    right, upright, left = (measure(stroke(lean=lean))["slant"] for lean in (5, 0, -5))
    assert right == pytest.approx(np.degrees(np.arctan2(5, 10)), abs=3)
    assert upright == pytest.approx(0, abs=1)
    assert left == pytest.approx(-right, abs=2)


def test_size_and_contrast_follow_length_and_level() -> None:
    assert measure(stroke(length=24))["size"] > measure(stroke(length=16))["size"] > measure(stroke(length=8))["size"]
    assert measure(stroke(level=128))["contrast"] == pytest.approx(0.5, abs=0.01)


def test_an_empty_image_can_be_measured() -> None:
    assert all(np.isfinite(value) for value in measure(np.zeros((32, 32), np.uint8)).values())


def test_thresholds_divide_each_class_by_itself() -> None:
    values = [dict.fromkeys(WORDS, float(at + 100 * label)) for label in (0, 1) for at in range(9)]
    labels = [label for label in (0, 1) for _ in range(9)]
    cuts = Thresholds.from_values(values, labels, 2)
    assert [cuts.rank("weight", value["weight"], label) for value, label in zip(values, labels, strict=True)] == [
        0, 0, 0, 1, 1, 1, 2, 2, 2,
    ] * 2  # fmt: skip
    assert cuts.words(values[0], 0)["slant"] == "left-leaning"


def test_no_word_stands_for_two_things() -> None:
    words = [word for group in WORDS.values() for word in group]
    assert len(words) == len(set(words))


def test_a_caption_tells_every_fact_when_nothing_is_dropped() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        text = caption("two", 2, FACTS, ALL, rng)
        assert all(word in text for word in FACTS.values())
        assert "two" in text.split() or "2" in text.split()


def test_facts_are_dropped_and_orders_change() -> None:
    rng = np.random.default_rng(0)
    texts = [caption("two", 2, FACTS, CaptionSpec(), rng) for _ in range(300)]
    assert "" in texts
    assert 0.5 < np.mean(["bold" in text for text in texts]) < 0.75
    assert len(set(texts)) > 150


def test_every_known_word_is_one_token_and_unknown_ones_do_not_fail() -> None:
    words = vocabulary(CLASSES)
    tokenizer = make_tokenizer(words, 24)
    for word in words:
        assert tokenizer.tokenize(word) == [word + "</w>"]
    ids = tokenizer(["A BOLD two, zebra 3 größe"], padding="max_length", truncation=True).input_ids[0]
    assert len(ids) == 24
    assert tokenizer.unk_token_id in ids


def test_the_tokenizer_survives_being_saved(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tokenizer = make_tokenizer(vocabulary(CLASSES), 24)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    text = "a thin left-leaning handwritten digit two, qux"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.model_max_length == 24
