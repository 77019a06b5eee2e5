"""What the trained model is worth, measured on its own samples: are labels right, do attributes show, is it varied?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.generators.training.captions import plain_prompts
from engine.generators.training.measures import WORDS, Thresholds, measure
from engine.generators.training.pool import Pool
from engine.generators.training.seeds import derive, numpy_rng, seeded_init
from engine.generators.training.untyped import Pipeline

Grey = NDArray[np.uint8]
Sampler = Callable[[Sequence[str], str], Grey]

#: Share of the world that the judge is trained on; the rest tells how far the judge itself can be trusted.
_JUDGE_SHARE = 0.9
_JUDGE_STEPS = 600


def make_sampler(pipeline: Pipeline, steps: int, seed: int, batch: int = 64) -> Sampler:
    """A function from prompts and a purpose to grey uint8 images (N, H, W), without guidance."""
    pipeline.set_progress_bar_config(disable=True)
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor

    def sample(prompts: Sequence[str], purpose: str) -> Grey:
        images = []
        for start in range(0, len(prompts), batch):
            chosen = list(prompts[start : start + batch])
            noises = [torch.Generator().manual_seed(derive(seed, purpose, start + at)) for at in range(len(chosen))]
            output = pipeline(
                chosen,
                height=side,
                width=side,
                num_inference_steps=steps,
                guidance_scale=0.0,
                generator=noises,
                output_type="np",
            ).images
            images.append(np.rint(output.mean(axis=-1) * 255).astype(np.uint8))
        return np.concatenate(images)

    return sample


class Judge:
    """A small convolutional classifier of grey images, trained on the copies of nine tenths of the world images.

    The copies, because samples vary in stroke and contrast as the training pool does.
    """

    def __init__(self, pool: Pool, seed: int) -> None:
        sources = np.unique(pool.sources)
        order = numpy_rng(seed, "judge").permutation(sources)
        rest = np.isin(pool.sources, order[int(len(order) * _JUDGE_SHARE) :])
        self._train(pool, np.flatnonzero(~rest), seed, min(_JUDGE_STEPS, len(pool.images)))
        self.accuracy = float((self.labels(pool.images[rest]) == pool.labels[rest]).mean())

    def _train(self, pool: Pool, known: NDArray[np.intp], seed: int, steps: int) -> None:
        with seeded_init(seed, "judge"):
            self._model = nn.Sequential(
                *_block(1, 32),
                *_block(32, 64),
                *_block(64, 128),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(128, int(pool.labels.max()) + 1),
            )
        optimiser = torch.optim.AdamW(self._model.parameters(), lr=2e-3)
        for step in range(steps):
            chosen = numpy_rng(seed, "judge", step).choice(known, size=64)
            target = torch.from_numpy(pool.labels[chosen])
            loss = functional.cross_entropy(self._model(_to_float(pool.images[chosen])), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        self._model.eval()

    @torch.no_grad()
    def labels(self, images: Grey) -> NDArray[np.int64]:
        """The most likely label of each image (N,)."""
        found: NDArray[np.int64] = self._model(_to_float(images)).argmax(dim=1).numpy()
        return found


def _block(inside: int, outside: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outside), nn.ReLU(), nn.MaxPool2d(2)


def _to_float(images: Grey) -> Tensor:
    return torch.from_numpy(images).float()[:, None] / 127.5 - 1


def label_accuracy(sample: Sampler, judge: Judge, classes: Sequence[str], count: int) -> tuple[float, list[float]]:
    """Share of images that the judge sees as what the prompt said: in all, and for each class."""
    labels, prompts = zip(*plain_prompts(classes, count), strict=True)
    right = judge.labels(sample(prompts, "labels")) == np.array(labels)
    return float(right.mean()), [float(right[np.array(labels) == at].mean()) for at in range(len(classes))]


def adherence(
    sample: Sampler, thresholds: Thresholds, classes: Sequence[str], count: int
) -> dict[str, dict[str, dict[str, float]]]:
    """attribute -> word -> the mean measure of images asked for with it, and the share in the third that it means.

    A word without effect has a share of about one third.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for attribute, words in WORDS.items():
        found[attribute] = {}
        for rank, word in enumerate(words):
            labels = [at % len(classes) for at in range(count)]
            # The same purpose for the three words of an attribute: equal noise, so that only the word differs.
            images = sample([f"a {word} handwritten digit {classes[label]}" for label in labels], attribute)
            values = [measure(image)[attribute] for image in images]
            ranks = [thresholds.rank(attribute, *pair) for pair in zip(values, labels, strict=True)]
            share = float(np.mean([found_rank == rank for found_rank in ranks]))
            found[attribute][word] = {"mean": round(float(np.mean(values)), 4), "share": round(share, 4)}
    return found


def variety(sample: Sampler, images: Grey, labels: NDArray[np.int64], classes: Sequence[str], count: int) -> float:
    """Mean pixel variance within a class, of samples relative to the training pool: 1 is as varied as the pool."""
    wanted, prompts = zip(*plain_prompts(classes, count), strict=True)
    return _within(sample(prompts, "variety"), np.array(wanted)) / max(_within(images, labels), 1e-9)


def _within(images: Grey, labels: NDArray[np.int64]) -> float:
    groups = [images[labels == label].astype(np.float64) for label in np.unique(labels)]
    return float(np.mean([group.var(axis=0).mean() for group in groups]))
