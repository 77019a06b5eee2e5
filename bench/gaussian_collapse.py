"""What becomes of a generator that is fitted to its own samples, generation after generation.

A mixture of Gaussians stands for the generator, since all of it can be seen. Refitted on samples of its predecessor
alone it loses variance, and whole modes (Shumailov et al., "AI models collapse when trained on recursively generated
data", 2024); with the real samples and those of all predecessors kept it does not (Gerstgrasser et al., "Is model
collapse inevitable?", 2024).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(points, dimensions)."""

_PROBES = 4000
_KEPT = 0.1
"""A mode is lost when the model gives it less than this share of its true weight."""


@dataclass(frozen=True)
class Mixture:
    """weights (components,), means (components, dimensions), covariances (components, dimensions, dimensions)."""

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]

    def sample(self, count: int, random: np.random.Generator) -> Points:
        """Independent points."""
        chosen = random.choice(len(self.weights), count, p=self.weights / self.weights.sum())
        roots = np.linalg.cholesky(self.covariances)
        noise = random.standard_normal((count, self.means.shape[1]))
        return np.asarray(self.means[chosen] + np.einsum("nij,nj->ni", roots[chosen], noise), np.float64)

    def log_joint(self, points: Points) -> NDArray[np.float64]:
        """Log of weight times density of each component at each point: (points, components)."""
        roots = np.linalg.cholesky(self.covariances)
        apart = points[None] - self.means[:, None]
        squares = np.square(np.linalg.solve(roots, apart.transpose(0, 2, 1))).sum(axis=1)
        volumes = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        constant = points.shape[1] / 2 * np.log(2 * np.pi)
        return np.asarray((np.log(self.weights) - volumes - constant)[None] - squares.T / 2, np.float64)

    def log_density(self, points: Points) -> NDArray[np.float64]:
        """(points,)."""
        return np.asarray(np.logaddexp.reduce(self.log_joint(points), axis=1), np.float64)

    @property
    def variance(self) -> float:
        """Of the whole: the mean squared distance of its points from their mean."""
        centre = self.weights @ self.means
        spread = np.trace(self.covariances, axis1=1, axis2=2) + np.square(self.means - centre).sum(axis=1)
        return float(self.weights @ spread)


TRUTH = Mixture(
    np.full(3, 1 / 3),
    4 * np.array([[np.cos(angle), np.sin(angle)] for angle in 2 * np.pi * np.arange(3) / 3]),
    np.tile(np.eye(2), (3, 1, 1)),
)
"""Three Gaussians of unit variance on a circle, a clear seven of their deviations from one another."""


@dataclass(frozen=True)
class Generation:
    """How near a model is to the truth. Generation 0 was fitted to real samples alone.

    modes:      true components of which it keeps at least a tenth of their weight.
    variance:   as a share of the truth's.
    divergence: Kullback-Leibler divergence of it from the truth in nats, estimated on real points: about 0 or more.
    """

    generation: int
    modes: int
    variance: float
    divergence: float


def recursion(
    truth: Mixture, samples: int, generations: int, seed: int, *, accumulate: bool
) -> Iterator[tuple[Generation, Mixture]]:
    """Generation 0 and each one after it, every model fitted to `samples` new points of the one before.

    accumulate: fit to the real points and to those of all models before, too. Two recursions of one seed have the same
    real points, and so the same generation 0.
    """
    random = np.random.default_rng(seed)
    probes = truth.sample(_PROBES, random)
    points = truth.sample(samples, random)
    model = fit(points, truth)
    yield _judge(0, model, truth, probes, random), model
    for generation in range(1, generations + 1):
        made = model.sample(samples, random)
        points = np.concatenate([points, made]) if accumulate else made
        model = fit(points, model)
        yield _judge(generation, model, truth, probes, random), model


def fit(points: Points, start: Mixture) -> Mixture:
    """The maximum likelihood mixture that expectation maximization reaches from `start`."""
    from sklearn.mixture import GaussianMixture

    found = GaussianMixture(
        len(start.weights),
        weights_init=start.weights / start.weights.sum(),
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        max_iter=1000,
    ).fit(points)
    return Mixture(found.weights_, found.means_, found.covariances_)


def _judge(generation: int, model: Mixture, truth: Mixture, probes: Points, random: np.random.Generator) -> Generation:
    nearest = truth.log_joint(model.sample(_PROBES, random)).argmax(axis=1)
    shares = np.bincount(nearest, minlength=len(truth.weights)) / _PROBES
    return Generation(
        generation,
        modes=int((shares >= _KEPT * truth.weights).sum()),
        variance=model.variance / truth.variance,
        divergence=float((truth.log_density(probes) - model.log_density(probes)).mean()),
    )
