"""Making one sample of a run again, from its metadata, and comparing."""

import hashlib
from dataclasses import dataclass

import numpy as np

from engine.errors import Mismatch, SpecError
from engine.generators.kinds import load_generator
from engine.run import Run
from engine.runner import make_sample
from shards.codec import decode_rgb
from shards.index import read_shard
from shards.stats import SUFFIX


@dataclass(frozen=True)
class Replay:
    """A sample and its second making. largest_difference: over all pixels and channels, on the scale 0 to 255."""

    key: str
    prompt: str
    seed: int
    stored: bytes
    made: bytes
    largest_difference: int

    @property
    def equal(self) -> bool:
        """Whether the encoded bytes are the same."""
        return hashlib.sha256(self.stored).digest() == hashlib.sha256(self.made).digest()


def replay(run: Run, key: str) -> Replay:
    """Make sample `key` again on this machine. Raises SpecError where the run has no such sample."""
    plan, recipe = run.recipe.plan, run.recipe
    try:
        slot = plan.slot_of_key(key)
    except KeyError:
        raise SpecError(f"{run.folder}: no sample {key!r}; keys are like {plan.slot(0).key}") from None
    name = plan.shard_name(slot.unit)
    if not (run.shards / f"{name}{SUFFIX}").exists():
        raise SpecError(f"{run.folder}: sample {key} belongs to unit {name}, which is not finished")
    tar = run.shards / f"{name}.tar"
    rows = [row for row in read_shard(tar) if row["key"] == key]
    if not rows:
        raise SpecError(f"{run.folder}: slot {key} failed, so there is no sample; see {name}{SUFFIX}")
    row = rows[0]
    with tar.open("rb") as file:
        file.seek(row["image_offset"])
        stored = file.read(row["image_size"])
    generator = load_generator(recipe.spec.model, recipe.spec.output.image, recipe.spec.cluster)
    again = make_sample(recipe, slot, row["attempt"], generator)
    if again is None:
        raise Mismatch(f"{run.folder}: {key} is rejected when it is made again on this machine")
    pixels = decode_rgb(again.image).astype(np.int16)
    difference = int(np.abs(pixels - decode_rgb(stored).astype(np.int16)).max())
    return Replay(key, row["prompt"], row["seed"], stored, again.image, difference)
