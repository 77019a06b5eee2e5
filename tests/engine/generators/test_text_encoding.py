"""Text encoding: each distinct text once, in batches of one fixed shape."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from torch.nn.modules.module import register_module_forward_hook

from tests.engine.generators.tiny_generators import TEXTS, batch, load, make, request


@contextmanager
def counted_forwards() -> Iterator[Counter[str]]:
    """Count the calls of each class of module."""
    counts: Counter[str] = Counter()
    hook = register_module_forward_hook(lambda module, *_: counts.update([type(module).__name__]))
    try:
        yield counts
    finally:
        hook.remove()


def test_each_distinct_text_is_encoded_once(sd: Path) -> None:
    generator = load(sd, guidance=6.5)
    with counted_forwards() as first:
        make(generator)
    with counted_forwards() as again:
        make(generator, batch(*reversed(TEXTS), seed=2))
    assert (first["CLIPTextModel"], again["CLIPTextModel"]) == (2, 0)


def test_without_a_cache_each_batch_is_encoded(sd: Path) -> None:
    generator = load(sd, optimizations={"cache_text_embeddings": False})
    make(generator)
    with counted_forwards() as counts:
        make(generator), make(generator)
    assert counts["CLIPTextModel"] == 2


def test_expected_texts_fill_a_batch(sd: Path) -> None:
    batches = [batch("a", "b", "a", "b"), batch("b", "c", "b", "c", seed=4), batch("d", "e", "f", "a", seed=8)]
    results = []
    for announced in (False, True):
        generator = load(sd, guidance=5.0)
        if announced:
            for request in chain.from_iterable(batches):
                generator.batch_key(request)
        with counted_forwards() as counts:
            pixels = [make(generator, requests).pixels for requests in batches]
        results.append((counts["CLIPTextModel"], pixels))
    (separate_calls, separate), (shared_calls, shared) = results
    assert (separate_calls, shared_calls) == (4, 2), "seven texts, the negative one among them, in groups of four"
    assert np.array_equal(separate, shared)


def test_length_buckets_do_not_share_a_batch(sd: Path, z_image: Path) -> None:
    short, long = "a cat", "a cat " * 8
    free, guided = (load(z_image, guidance=guidance) for guidance in (0.0, 3.0))
    assert free.batch_key(request(short)) != free.batch_key(request(long))
    assert free.batch_key(request(short)) == free.batch_key(request(short, 1, long)), (
        "the negative prompt does not count without guidance"
    )
    assert guided.batch_key(request(short)) != guided.batch_key(request(short, 1, long))
    padded = load(sd)
    assert padded.batch_key(request(short)) == padded.batch_key(request(long))
