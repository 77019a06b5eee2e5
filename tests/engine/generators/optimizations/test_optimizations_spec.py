"""Which optimizations change bytes, which are recorded, and which may change in a resumed run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config.spec import Spec
from engine.config.spec_file import identity, parse_as
from tests.engine.generators.tiny_generators import GPU, TEXTS, batch, load, make


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_byte_preserving_optimizations_change_no_byte(sd: Path, device: str) -> None:
    default = load(sd, device, guidance=5.0)
    first, second = batch(), batch(*reversed(TEXTS), seed=9)
    expected = [make(default, requests).pixels for requests in (first, second)]
    for name in ("overlap_copies", "cache_text_embeddings"):
        other = load(sd, device, guidance=5.0, optimizations={name: False})
        assert np.array_equal([make(other, requests).pixels for requests in (first, second)], expected)
        assert other.facts == default.facts, "the metadata do not change either"
    before = default.generate(first)
    # The second batch must not overwrite pixels of the first, which may still be copied.
    after = default.generate(second)
    assert np.array_equal(before.images().pixels, expected[0])
    assert np.array_equal(after.images().pixels, expected[1])


def test_channels_last_changes_only_the_order_of_sums(sd: Path) -> None:
    last, first = load(sd, optimizations={"packed_weights": False}), load(sd, optimizations={"channels_last": False})
    weights = [generator._pipe.pipeline.unet.conv_in.weight for generator in (last, first)]
    assert [weight.is_contiguous(memory_format=torch.channels_last) for weight in weights] == [True, False]
    assert np.abs(make(last).pixels.astype(int) - make(first).pixels).max() <= 1
    assert json.loads(first.facts.settings)["optimizations"] == {"channels_last": False}
    assert last.device.endswith(", sdpa, channels_last, cache_text_embeddings")
    assert first.device.endswith(", sdpa, cache_text_embeddings")


def test_a_resumed_run_may_change_byte_preserving_ones() -> None:
    def spec(*overrides: str) -> dict[str, Any]:
        text = "{name: a, classes: [b], plan: {per_class: 1}, model: {source: m}}"
        return identity(parse_as(Spec, text, "spec", [f"model.optimizations.{override}" for override in overrides]))

    assert spec("overlap_copies=false", "cache_text_embeddings=false") == spec()
    for change in ("channels_last=false", "packed_weights=false", "compile=default", "decode_batch=1", "fp8=true"):
        assert spec(change) != spec()
