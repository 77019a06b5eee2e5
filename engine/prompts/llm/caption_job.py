"""The job `captions`: a bank of descriptions of the train split's images, by a vision-language model.

No image of another split is shown to the model: its words would carry it into what classifiers are trained on.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine.data.splits import load_splits
from engine.data.real_image import RealImage
from engine.errors import DataError, SpecError
from engine.prompts.llm.response_parser import ParsedLine, Response, read_caption
from engine.prompts.llm.bank_spec import CaptionBankSpec, fill
from engine.prompts.llm.bank_writer import BankSummary, fill_bank
from engine.prompts.llm.language_model import Log
from engine.prompts.llm.question_planner import QuestionPlanner, Topic
from shards.codec import Pixels, fit_rgb


def write_captions(spec: CaptionBankSpec, out: Path, log: Log) -> BankSummary:
    """Write the bank, or go on with it. Raises what `fill_bank` raises, SpecError, and DataError for unusable data."""
    splits = load_splits(spec.data)
    if unknown := spec.words.keys() - set(splits.classes):
        raise SpecError(
            f"words names {sorted(unknown)[0]!r}, which is no class of the data: {', '.join(splits.classes)}"
        )
    topics = [_topic(spec, image) for image in _chosen(splits.train, spec.per_class)]
    if not topics:
        raise DataError("data: the train split holds no image to describe; raise data.splits.train")
    counts = Counter(topic.class_name for topic in topics)
    interview = QuestionPlanner(topics, spec.seed, 1, spec.patience, partial(_read, spec))
    return fill_bank(spec, interview, lambda name: int(spec.may_miss * counts[name] * spec.per_image), out, log)


def _chosen(images: Sequence[RealImage], most: int | None) -> list[RealImage]:
    """The first so many of each class, class by class."""
    ordered = sorted(images, key=lambda image: image.label)
    place = Counter[int]()
    chosen = []
    for image in ordered:
        if most is None or place[image.label] < most:
            chosen.append(image)
            place[image.label] += 1
    return chosen


def _topic(spec: CaptionBankSpec, image: RealImage) -> Topic:
    name = image.class_name
    instruction = fill(spec.instruction, **{"class": spec.spoken(name)})
    show = partial(_shown, image, spec.longest_side)
    return Topic(image.digest, name, spec.names(name), instruction, spec.per_image, show)


def _shown(image: RealImage, longest: int) -> Pixels:
    pixels = image.pixels()
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return fit_rgb(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def _read(spec: CaptionBankSpec, topic: Topic, answer: Response) -> list[ParsedLine]:
    prefix = None if spec.prefix is None else fill(spec.prefix, **{"class": spec.spoken(topic.class_name)})
    return read_caption(answer, topic.names, prefix)
