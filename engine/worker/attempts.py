"""Attempts at slots: how they share batches, and how they end."""

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
    """One try at a slot. number: 0 for the first."""

    slot: Slot
    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The end of an attempt: a sample, or the reason of its rejection."""

    attempt: Attempt
    sample: Sample | None
    reason: str


def attempt_at(context: RunContext, slot: Slot, number: int) -> Attempt:
    """Return an attempt at a slot. Needs no device. Raises SlotFailed."""
    with _naming(context, slot):
        return Attempt(slot, number, context.request(slot, number))


def first_attempts(context: RunContext, unit: int) -> list[Attempt]:
    """Return the first attempts at all slots of a unit. Raises SlotFailed."""
    return [attempt_at(context, slot, 0) for slot in context.plan.slots(context.plan.unit(unit))]


def next_attempts(context: RunContext, rejected: Sequence[Attempt]) -> list[Attempt]:
    """Return the next attempts at the slots that have attempts left. Raises SlotFailed."""
    limit = context.spec.plan.max_attempts
    return [attempt_at(context, attempt.slot, attempt.number + 1) for attempt in rejected if attempt.number + 1 < limit]


def batches(attempts: Sequence[Attempt], generator: Generator) -> Iterator[list[Attempt]]:
    """Divide attempts into batches of requests with equal batch keys; the last batch of each key may be short."""
    groups: dict[Hashable, list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault(generator.batch_key(attempt.request), []).append(attempt)
    for group in groups.values():
        for start in range(0, len(group), generator.batch_size):
            yield group[start : start + generator.batch_size]


def padded_requests(batch: Sequence[Attempt], size: int) -> list[Request]:
    """Return the requests of a batch, padded to `size` by copies of the last one."""
    # A smaller batch would change the image, in its last bits or more.
    requests = [attempt.request for attempt in batch]
    return [*requests, *[requests[-1]] * (size - len(requests))]


def attempt_result(
    context: RunContext, attempt: Attempt, facts: ModelFacts, images: Images, verdict: Verdict, position: int
) -> AttemptResult:
    """Encode the image at `position` of a batch, or reject it. facts: of the generator. Raises SlotFailed."""
    pixels = images.pixels[position]
    reason = (images.refused[position] if images.refused else "") or verdict.reason
    if reason:
        return AttemptResult(attempt, None, reason)
    slot, (height, width) = attempt.slot, pixels.shape[:2]
    with _naming(context, slot):
        metadata = context.metadata(slot, attempt.number, attempt.request, facts)
        metadata |= {"width": width, "height": height, **verdict.scores}
        form = context.spec.output.image
        image = encode_rgb(pixels, form.format, form.quality)
        mask = None if images.masks is None else encode_mask(images.masks[position])
        return AttemptResult(attempt, Sample(slot.key, image, form.format, slot.label, metadata, mask), "")


@contextmanager
def _naming(context: RunContext, slot: Slot) -> Iterator[None]:
    """Turn any error in the block into SlotFailed with the slot's key and prompt."""
    try:
        yield
    except Exception as error:
        failed = SlotFailed(f"{type(error).__name__}: {first_line(error)} (slot {slot.key})")
        failed.key = slot.key
        with suppress(Exception):  # the prompt itself may be what cannot be made
            failed.prompt = context.prompt(slot).text
        raise failed from error
