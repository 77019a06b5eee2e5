"""The quality of a trained generator, measured on its own samples: label accuracy, effect of words, variety."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.training.classifier.networks import SmallCnn
from engine.training.generator.augmentation_pool import AugmentationPool
from engine.training.generator.autoencoder import batches, to_model
from engine.training.generator.captions import plain_prompts, prompt
from engine.training.generator.generator_spec import CaptionSpec, GeneratorSpec
from engine.training.generator.image_attributes import ATTRIBUTES, Rgb, Thresholds
from engine.training.optimizer import ClippedAdamW
from engine.training.random_streams import derive_seed, numpy_rng, seeded_init

Sampler = Callable[[Sequence[str], str], Rgb]

_JUDGE_SHARE = 0.9
"""Share of the world that the judge is trained on. The rest measures the judge's own accuracy."""
_BATCH = 64


def make_sampler(pipeline: Any, spec: GeneratorSpec, seed: int) -> Sampler:
    """Return a function from prompts and a purpose, which decides the noise, to RGB uint8 images (N, H, W, 3)."""
    pipeline.set_progress_bar_config(disable=True)
    steps, guidance = spec.inference_steps, spec.guidance
    settings = {"height": spec.size, "width": spec.size, "num_inference_steps": steps, "guidance_scale": guidance}

    def sample(prompts: Sequence[str], purpose: str) -> Rgb:
        images = []
        for start in range(0, len(prompts), _BATCH):
            chosen = list(prompts[start : start + _BATCH])
            seeds = [derive_seed(seed, purpose, start + place) for place in range(len(chosen))]
            noise_rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
            images.append(
                np.rint(pipeline(chosen, generator=noise_rngs, output_type="np", **settings).images * 255).astype(
                    np.uint8
                )
            )
        return np.concatenate(images)

    return sample


class Judge:
    """A small classifier, trained on the pool's copies of nine tenths of the world. accuracy: on the last tenth."""

    def __init__(self, pool: AugmentationPool, steps: int, seed: int, device: torch.device) -> None:
        sources = np.unique(pool.sources)
        order = numpy_rng(seed, "judge").permutation(sources)
        held_out = np.isin(pool.sources, order[int(len(order) * _JUDGE_SHARE) :])
        with seeded_init(seed, "judge"):
            self._model = SmallCnn(int(pool.labels.max()) + 1).to(device).to(memory_format=torch.channels_last)
        self._device = device
        self._train(pool, np.flatnonzero(~held_out), steps, seed)
        self.accuracy = float((self.labels(pool.images[held_out]) == pool.labels[held_out]).mean())

    def _train(self, pool: AugmentationPool, places: NDArray[np.intp], steps: int, seed: int) -> None:
        optimizer = ClippedAdamW(list(self._model.parameters()), rate=2e-3, warmup=steps // 10, steps=steps)
        for step in range(steps):
            chosen = numpy_rng(seed, "judge", step).choice(places, size=_BATCH)
            target = torch.from_numpy(pool.labels[chosen]).to(self._device)
            logits = self._model(to_model(pool.images[chosen], self._device))
            optimizer.step(functional.cross_entropy(logits, target), step)
        self._model.eval()

    @torch.no_grad()
    def labels(self, images: Rgb) -> NDArray[np.int64]:
        """Return the most likely label of each image, (N,)."""
        logits = [self._model(to_model(batch, self._device)) for batch in batches(images)]
        return np.concatenate([part.argmax(dim=1).cpu().numpy() for part in logits])


def label_accuracy(
    sample: Sampler, judge: Judge, classes: Sequence[str], spec: GeneratorSpec
) -> tuple[float, list[float]]:
    """Return the share of images whose label by the judge is that of the prompt: of all, and of each class."""
    labels, prompts = zip(*plain_prompts(classes, spec.judged, spec.captions), strict=True)
    right = judge.labels(sample(prompts, "labels")) == np.array(labels)
    return float(right.mean()), [float(right[np.array(labels) == at].mean()) for at in range(len(classes))]


def adherence(
    sample: Sampler, thresholds: Thresholds, classes: Sequence[str], count: int, spec: CaptionSpec
) -> dict[str, dict[str, dict[str, float]]]:
    """Return attribute -> word -> `mean` measure of images with the word in their prompt, and `share` in its third."""
    labels = [number % len(classes) for number in range(count)]
    effects: dict[str, dict[str, dict[str, float]]] = {}
    for name in thresholds.cuts:
        effects[name] = {}
        for rank, word in enumerate(ATTRIBUTES[name].words):
            # The same purpose for the three words of an attribute: equal noise, so that only the word differs.
            images = sample([prompt(spec, classes[label], word) for label in labels], name)
            values = [ATTRIBUTES[name].measure(image) for image in images]
            ranks = [thresholds.rank(name, *pair) for pair in zip(values, labels, strict=True)]
            share = float(np.mean(np.array(ranks) == rank))
            effects[name][word] = {"mean": round(float(np.mean(values)), 4), "share": round(share, 4)}
    return effects


def variety(sample: Sampler, pool: AugmentationPool, classes: Sequence[str], spec: GeneratorSpec) -> float:
    """Return the mean pixel variance within a class, of samples relative to the pool: 1 is as varied as the pool."""
    labels, prompts = zip(*plain_prompts(classes, spec.judged, spec.captions), strict=True)
    pool_variance = max(_variance_within(pool.images, pool.labels), 1e-9)
    return _variance_within(sample(prompts, "variety"), np.array(labels)) / pool_variance


def _variance_within(images: Rgb, labels: NDArray[np.int64]) -> float:
    groups = [images[labels == label].astype(np.float32) for label in np.unique(labels)]
    return float(np.mean([group.var(axis=0, dtype=np.float64).mean() for group in groups]))
