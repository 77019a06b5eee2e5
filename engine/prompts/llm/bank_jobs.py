"""The jobs `prompts` and `captions`: write a bank by a language model, or by one that sees the real images."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path

from engine.data.open_source import open_source
from engine.data.real_image import RealImage
from engine.data.splits import load_splits
from engine.errors import DataError
from engine.prompts.llm.bank_spec import CaptionBankSpec, PromptBankSpec, check_words
from engine.prompts.llm.bank_writer import BankSummary, fill_bank
from engine.prompts.llm.language_model import Log
from engine.prompts.llm.question_planner import QuestionPlanner, Topic
from engine.prompts.llm.response_parser import ParsedLine, Response, parse_caption, parse_prompts
from engine.prompts.prompt_templates import fill_template
from shards.codec import Pixels, fit_rgb


def write_prompts(spec: PromptBankSpec, out: Path, log: Log) -> BankSummary:
    """Write the bank, or resume. Raises the errors of `fill_bank`, SpecError, and DataError for unusable data."""
    classes = spec.classes or ()
    if spec.data is not None:
        classes = open_source(spec.data).classes
        check_words(spec, classes)
    topics = [_make_class_topic(spec, name) for name in classes]
    planner = QuestionPlanner(topics, spec.seed, spec.per_request, spec.patience, _parse_prompts)
    return fill_bank(spec, planner, lambda _: 0, out, log)


def _make_class_topic(spec: PromptBankSpec, name: str) -> Topic:
    values = {"class": spec.class_text(name), "count": str(spec.per_request)}
    return Topic(name, name, spec.class_names(name), fill_template(spec.instruction, values), spec.per_class)


def _parse_prompts(topic: Topic, response: Response) -> list[ParsedLine]:
    return parse_prompts(response, topic.names)


def write_captions(spec: CaptionBankSpec, out: Path, log: Log) -> BankSummary:
    """Write the bank, or resume. Raises the errors of `fill_bank`, SpecError, and DataError for unusable data."""
    splits = load_splits(spec.data)
    check_words(spec, splits.classes)
    # No image of another split: its caption would carry it into the training of classifiers.
    topics = [_make_image_topic(spec, image) for image in _first_of_each_class(splits.train, spec.per_class)]
    if not topics:
        raise DataError("data: the train split has no image to describe; raise data.splits.train")
    counts = Counter(topic.class_name for topic in topics)
    planner = QuestionPlanner(topics, spec.seed, 1, spec.patience, partial(_parse_caption, spec))
    return fill_bank(spec, planner, lambda name: int(spec.may_miss * counts[name] * spec.per_image), out, log)


def _first_of_each_class(images: Sequence[RealImage], limit: int | None) -> list[RealImage]:
    ordered = sorted(images, key=lambda image: image.label)
    return [image for _, group in groupby(ordered, key=lambda image: image.label) for image in islice(group, limit)]


def _make_image_topic(spec: CaptionBankSpec, image: RealImage) -> Topic:
    name = image.class_name
    instruction = fill_template(spec.instruction, {"class": spec.class_text(name)})
    load_image = partial(_load_scaled, image, spec.longest_side)
    return Topic(image.digest, name, spec.class_names(name), instruction, spec.per_image, load_image)


def _load_scaled(image: RealImage, longest_side: int) -> Pixels:
    pixels = image.pixels()
    height, width = pixels.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    return fit_rgb(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def _parse_caption(spec: CaptionBankSpec, topic: Topic, response: Response) -> list[ParsedLine]:
    values = {"class": spec.class_text(topic.class_name)}
    prefix = None if spec.prefix is None else fill_template(spec.prefix, values)
    return parse_caption(response, topic.names, prefix)
