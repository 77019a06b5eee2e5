"""Turns: attempts at slots, how they share batches, and how they end."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from engine.errors import SlotFailed
from engine.filters.filter import Verdict
from engine.generators.generator import Generator, Images, ModelFacts, Request
from engine.run.run_context import RunContext
from engine.types import Slot
from shards.codec import encode_mask, encode_rgb
from shards.sample import Sample
from shards.storage.retries import first_line


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a slot."""

    slot: Slot
    attempt: int
    request: Request


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How a turn ended: with a sample, or with the reason why not."""

    turn: Attempt
    sample: Sample | None
    reason: str


def attempt_at(context: RunContext, slot: Slot, attempt: int) -> Attempt:
    """An attempt at a slot, the first being 0. Takes no device. Raises SlotFailed."""
    with _of_slot(context, slot):
        return Attempt(slot, attempt, context.request(slot, attempt))


def first_attempts(context: RunContext, number: int) -> list[Attempt]:
    """The first attempts at the slots of unit `number`. Raises SlotFailed."""
    return [attempt_at(context, slot, 0) for slot in context.plan.slots(context.plan.unit(number))]


def next_attempts(context: RunContext, rejected: Sequence[Attempt]) -> list[Attempt]:
    """The next attempts at those slots that may be tried again. Raises SlotFailed."""
    allowed = context.spec.plan.max_attempts
    return [attempt_at(context, turn.slot, turn.attempt + 1) for turn in rejected if turn.attempt + 1 < allowed]


def batches(turns: Sequence[Attempt], generator: Generator) -> Iterator[list[Attempt]]:
    """Full batches of requests of equal shape, shapes in the order in which they appear; each shape's last may be
    short."""
    groups: dict[Hashable, list[Attempt]] = {}
    for turn in turns:
        groups.setdefault(generator.shape(turn.request), []).append(turn)
    for group in groups.values():
        for start in range(0, len(group), generator.batch_size):
            yield group[start : start + generator.batch_size]


def requests_of(batch: Sequence[Attempt], size: int) -> list[Request]:
    """A batch as the generator takes it, filled up to its size with its last request."""
    # Never a smaller batch: another batch size gives another image, in its last bits or more.
    requests = [turn.request for turn in batch]
    return [*requests, *[requests[-1]] * (size - len(requests))]


def attempt_result(
    context: RunContext, turn: Attempt, facts: ModelFacts, images: Images, verdict: Verdict, place: int
) -> AttemptResult:
    """Of a turn whose image is at this place of a batch: judged, and encoded. facts: of the generator. Raises
    SlotFailed."""
    pixels = images.pixels[place]
    refused = images.refused[place] if images.refused else ""
    with _of_slot(context, turn.slot):
        if refused or not verdict.keep:
            return AttemptResult(turn, None, refused or verdict.reason)
        slot, (height, width) = turn.slot, pixels.shape[:2]
        meta = context.metadata(slot, turn.attempt, turn.request, facts)
        meta |= {"width": width, "height": height, **verdict.scores}
        form = context.spec.output.image
        image = encode_rgb(pixels, form.format, form.quality)
        mask = None if images.masks is None else encode_mask(images.masks[place])
        return AttemptResult(turn, Sample(slot.key, image, form.format, slot.label, meta, mask), "")


@contextmanager
def _of_slot(context: RunContext, slot: Slot) -> Iterator[None]:
    """An error within it names the slot."""
    try:
        yield
    except Exception as error:
        failed = SlotFailed(f"{type(error).__name__}: {first_line(error)} (slot {slot.key})")
        failed.key = slot.key
        with suppress(Exception):  # it may be the prompt that cannot be made
            failed.prompt = context.prompt(slot).text
        raise failed from error
