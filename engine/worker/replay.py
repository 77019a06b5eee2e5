"""Making one sample of a run again and comparing it with the stored one."""

import hashlib
from dataclasses import dataclass

import numpy as np

from engine.errors import Mismatch, SpecError
from engine.generators.generator import load_generator
from engine.run.run import Run
from engine.worker.runner import make_sample
from shards.codec import decode_rgb
from shards.stats import STATS_SUFFIX
from shards.storage.manifest import read_index, read_stats


@dataclass(frozen=True)
class Replay:
    """A stored sample and the same made again, encoded; their largest difference is on the scale 0 to 255."""

    key: str
    prompt: str
    seed: int
    stored: bytes
    made: bytes
    largest_difference: int

    @property
    def equal(self) -> bool:
        """Return whether the encoded bytes are the same."""
        return hashlib.sha256(self.stored).digest() == hashlib.sha256(self.made).digest()


def replay(run: Run, key: str) -> Replay:
    """Make sample `key` again on this machine. Raises SpecError for an unknown key, Mismatch if it is rejected."""
    plan, context = run.context.plan, run.context
    try:
        slot = plan.slot_of_key(key)
    except KeyError:
        raise SpecError(f"{run.store}: no sample {key!r}; keys are like {plan.slot(0).key}") from None
    name = plan.shard_name(slot.unit)
    if run.shards.size(f"{name}{STATS_SUFFIX}") is None:
        raise SpecError(f"{run.store}: sample {key} belongs to unit {name}, which is not finished")
    rows = [row for row in read_index(run.shards, name).to_pylist() if row["key"] == key]
    if not rows:
        raise SpecError(f"{run.store}: slot {key} failed, so there is no sample; see {name}{STATS_SUFFIX}")
    row = rows[0]
    stored = run.shards.read(f"{name}.tar", row["image_offset"], row["image_size"])
    model = context.spec.model.with_batch_size(read_stats(run.shards, name)["batch_size"])
    generator = load_generator(model, context.spec.output.image, context.spec.cluster)
    again = make_sample(context, slot, row["attempt"], generator)
    if again is None:
        raise Mismatch(f"{run.store}: {key} is rejected when it is made again on this machine")
    pixels = decode_rgb(again.image).astype(np.int16)
    difference = int(np.abs(pixels - decode_rgb(stored).astype(np.int16)).max())
    return Replay(key, row["prompt"], row["seed"], stored, again.image, difference)
