"""The job `captions`: write a bank of captions of the train split's images by a vision-language model.

The model sees no image of another split, because its caption would carry that image into the training of classifiers.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine.data.real_image import RealImage
from engine.data.splits import load_splits
from engine.errors import DataError
from engine.prompts.llm.bank_spec import CaptionBankSpec, check_words
from engine.prompts.llm.bank_writer import BankSummary, fill_bank
from engine.prompts.llm.language_model import Log
from engine.prompts.llm.question_planner import QuestionPlanner, Topic
from engine.prompts.llm.response_parser import ParsedLine, Response, parse_caption
from engine.prompts.prompt_templates import fill_template
from shards.codec import Pixels, fit_rgb


def write_captions(spec: CaptionBankSpec, out: Path, log: Log) -> BankSummary:
    """Write the bank, or resume. Raises the errors of `fill_bank`, SpecError, and DataError for unusable data."""
    splits = load_splits(spec.data)
    check_words(spec, splits.classes)
    topics = [_make_topic(spec, image) for image in _first_of_each_class(splits.train, spec.per_class)]
    if not topics:
        raise DataError("data: the train split has no image to describe; raise data.splits.train")
    counts = Counter(topic.class_name for topic in topics)
    planner = QuestionPlanner(topics, spec.seed, 1, spec.patience, partial(_parse, spec))
    return fill_bank(spec, planner, lambda name: int(spec.may_miss * counts[name] * spec.per_image), out, log)


def _first_of_each_class(images: Sequence[RealImage], limit: int | None) -> list[RealImage]:
    """Return the first `limit` images of each class, class by class."""
    counts = Counter[int]()
    chosen = []
    for image in sorted(images, key=lambda image: image.label):
        if limit is None or counts[image.label] < limit:
            chosen.append(image)
            counts[image.label] += 1
    return chosen


def _make_topic(spec: CaptionBankSpec, image: RealImage) -> Topic:
    name = image.class_name
    instruction = fill_template(spec.instruction, {"class": spec.class_text(name)})
    load_image = partial(_load_scaled, image, spec.longest_side)
    return Topic(image.digest, name, spec.class_names(name), instruction, spec.per_image, load_image)


def _load_scaled(image: RealImage, longest_side: int) -> Pixels:
    pixels = image.pixels()
    height, width = pixels.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    return fit_rgb(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def _parse(spec: CaptionBankSpec, topic: Topic, response: Response) -> list[ParsedLine]:
    prefix = spec.prefix
    if prefix is not None:
        prefix = fill_template(prefix, {"class": spec.class_text(topic.class_name)})
    return parse_caption(response, topic.names, prefix)
