"""What the trained model is worth, measured on its own samples: are labels right, do attributes show, is it varied?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.training.classifier.networks import SmallCnn
from engine.training.generator.augmentation_pool import Pool
from engine.training.generator.autoencoder import batches, to_model
from engine.training.generator.captions import plain_prompts, prompt
from engine.training.generator.generator_spec import CaptionSpec, GeneratorSpec
from engine.training.generator.image_attributes import ATTRIBUTES, Rgb, Thresholds
from engine.training.generator.untyped import Pipeline
from engine.training.optimizer import Optimiser
from engine.training.random_streams import derive, numpy_rng, seeded_init

Sampler = Callable[[Sequence[str], str], Rgb]

#: Share of the world that the judge is trained on; the rest tells how far the judge itself can be trusted.
_JUDGE_SHARE = 0.9
_JUDGE_BATCH = 64


def make_sampler(pipeline: Pipeline, spec: GeneratorSpec, seed: int, batch: int = 64) -> Sampler:
    """A function from prompts and a purpose to RGB uint8 images (N, H, W, 3), with the spec's steps and guidance."""
    pipeline.set_progress_bar_config(disable=True)
    ask = partial(
        pipeline,
        height=spec.size,
        width=spec.size,
        num_inference_steps=spec.inference_steps,
        guidance_scale=spec.guidance,
        output_type="np",
    )

    def sample(prompts: Sequence[str], purpose: str) -> Rgb:
        images = []
        for start in range(0, len(prompts), batch):
            chosen = list(prompts[start : start + batch])
            noises = [torch.Generator().manual_seed(derive(seed, purpose, start + at)) for at in range(len(chosen))]
            images.append(np.rint(ask(chosen, generator=noises).images * 255).astype(np.uint8))
        return np.concatenate(images)

    return sample


class Judge:
    """A small convolutional classifier, trained on the copies of nine tenths of the world images.

    The copies, because samples vary as the training pool does. accuracy: on the last tenth, itself unseen.
    """

    def __init__(self, pool: Pool, steps: int, seed: int, device: torch.device) -> None:
        sources = np.unique(pool.sources)
        order = numpy_rng(seed, "judge").permutation(sources)
        rest = np.isin(pool.sources, order[int(len(order) * _JUDGE_SHARE) :])
        with seeded_init(seed, "judge"):
            self._model = SmallCnn(int(pool.labels.max()) + 1).to(device).to(memory_format=torch.channels_last)
        self._device = device
        self._train(pool, np.flatnonzero(~rest), steps, seed)
        self.accuracy = float((self.labels(pool.images[rest]) == pool.labels[rest]).mean())

    def _train(self, pool: Pool, known: NDArray[np.intp], steps: int, seed: int) -> None:
        optimiser = Optimiser(list(self._model.parameters()), rate=2e-3, warmup=steps // 10, steps=steps)
        for step in range(steps):
            chosen = numpy_rng(seed, "judge", step).choice(known, size=_JUDGE_BATCH)
            target = torch.from_numpy(pool.labels[chosen]).to(self._device)
            logits = self._model(to_model(pool.images[chosen], self._device))
            optimiser.step(functional.cross_entropy(logits, target), step)
        self._model.eval()

    @torch.no_grad()
    def labels(self, images: Rgb) -> NDArray[np.int64]:
        """The most likely label of each image (N,)."""
        found = [self._model(to_model(batch, self._device)).argmax(dim=1).cpu().numpy() for batch in batches(images)]
        return np.concatenate(found)


def label_accuracy(
    sample: Sampler, judge: Judge, classes: Sequence[str], spec: GeneratorSpec
) -> tuple[float, list[float]]:
    """Share of images that the judge sees as what the prompt said: in all, and for each class."""
    labels, prompts = zip(*plain_prompts(classes, spec.judged, spec.captions), strict=True)
    right = judge.labels(sample(prompts, "labels")) == np.array(labels)
    return float(right.mean()), [float(right[np.array(labels) == at].mean()) for at in range(len(classes))]


def adherence(
    sample: Sampler, thresholds: Thresholds, classes: Sequence[str], count: int, spec: CaptionSpec
) -> dict[str, dict[str, dict[str, float]]]:
    """attribute -> word -> the mean measure of images asked for with it, and the share in the third that it means.

    A word without effect has a share of about one third.
    """
    labels = [at % len(classes) for at in range(count)]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in thresholds.cuts:
        found[name] = {}
        for rank, word in enumerate(ATTRIBUTES[name].words):
            # The same purpose for the three words of an attribute: equal noise, so that only the word differs.
            images = sample([prompt(spec, classes[label], word) for label in labels], name)
            values = [ATTRIBUTES[name].measure(image) for image in images]
            ranks = [thresholds.rank(name, *pair) for pair in zip(values, labels, strict=True)]
            share = float(np.mean([found_rank == rank for found_rank in ranks]))
            found[name][word] = {"mean": round(float(np.mean(values)), 4), "share": round(share, 4)}
    return found


def variety(sample: Sampler, pool: Pool, classes: Sequence[str], spec: GeneratorSpec) -> float:
    """Mean pixel variance within a class, of samples relative to the training pool: 1 is as varied as the pool."""
    wanted, prompts = zip(*plain_prompts(classes, spec.judged, spec.captions), strict=True)
    return _within(sample(prompts, "variety"), np.array(wanted)) / max(_within(pool.images, pool.labels), 1e-9)


def _within(images: Rgb, labels: NDArray[np.int64]) -> float:
    groups = [images[labels == label].astype(np.float32) for label in np.unique(labels)]
    return float(np.mean([group.var(axis=0, dtype=np.float64).mean() for group in groups]))
