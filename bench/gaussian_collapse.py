"""Model collapse of a Gaussian mixture that is refitted to its own samples, generation after generation.

A mixture of Gaussians stands for the image generator because all its properties can be computed. Fitted only to samples
of its predecessor, it loses variance and whole modes (Shumailov et al., "AI models collapse when trained on recursively
generated data", 2024). Fitted to the real samples and those of all predecessors, it does not (Gerstgrasser et al., "Is
model collapse inevitable?", 2024).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(points, dimensions)."""

_EVALUATION_POINTS = 4000
_MIN_WEIGHT_RATIO = 0.1
"""A mode is lost when the model gives it less than this share of its true weight."""


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture.

    weights: (components,). means: (components, dimensions). covariances: (components, dimensions, dimensions).
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]

    def sample(self, count: int, random: np.random.Generator) -> Points:
        """Draw `count` independent points."""
        components = random.choice(len(self.weights), count, p=self.weights / self.weights.sum())
        cholesky = np.linalg.cholesky(self.covariances)
        noise = random.standard_normal((count, self.means.shape[1]))
        return np.asarray(self.means[components] + np.einsum("nij,nj->ni", cholesky[components], noise), np.float64)

    def log_joint(self, points: Points) -> NDArray[np.float64]:
        """Return log(weight * density) of each component at each point, (points, components)."""
        cholesky = np.linalg.cholesky(self.covariances)
        deviations = points[None] - self.means[:, None]
        mahalanobis = np.square(np.linalg.solve(cholesky, deviations.transpose(0, 2, 1))).sum(axis=1)
        half_log_determinants = np.log(np.diagonal(cholesky, axis1=1, axis2=2)).sum(axis=1)
        constant = points.shape[1] / 2 * np.log(2 * np.pi)
        return np.asarray((np.log(self.weights) - half_log_determinants - constant)[None] - mahalanobis.T / 2)

    def log_density(self, points: Points) -> NDArray[np.float64]:
        """Return the log density at each point, (points,)."""
        return np.asarray(np.logaddexp.reduce(self.log_joint(points), axis=1), np.float64)

    @property
    def variance(self) -> float:
        """Return the mean squared distance of the mixture's points from their mean."""
        centre = self.weights @ self.means
        spread = np.trace(self.covariances, axis1=1, axis2=2) + np.square(self.means - centre).sum(axis=1)
        return float(self.weights @ spread)


TRUTH = Mixture(
    np.full(3, 1 / 3),
    4 * np.array([[np.cos(angle), np.sin(angle)] for angle in 2 * np.pi * np.arange(3) / 3]),
    np.tile(np.eye(2), (3, 1, 1)),
)
"""Three Gaussians of unit variance on a circle; their means are seven standard deviations apart."""


@dataclass(frozen=True)
class Generation:
    """The distance of one model from the truth. Generation 0 is fitted to real samples only.

    modes:      true components to which the model gives at least a tenth of their weight.
    variance:   as a share of the truth's.
    divergence: Kullback-Leibler divergence of the model from the truth in nats, estimated on real points. The estimate
                of a good model can be slightly negative.
    """

    generation: int
    modes: int
    variance: float
    divergence: float


def refit_generations(
    truth: Mixture, samples: int, generations: int, seed: int, *, accumulate: bool
) -> Iterator[tuple[Generation, Mixture]]:
    """Yield generation 0 and `generations` more; each model is fitted to `samples` new points of its predecessor.

    accumulate: fit also to the real points and to the points of all earlier models. With the same seed, both settings
    start from the same real points and so have the same generation 0.
    """
    random = np.random.default_rng(seed)
    evaluation_points = truth.sample(_EVALUATION_POINTS, random)
    points = truth.sample(samples, random)
    model = fit(points, truth)
    yield _evaluate(0, model, truth, evaluation_points, random), model
    for generation in range(1, generations + 1):
        generated = model.sample(samples, random)
        points = np.concatenate([points, generated]) if accumulate else generated
        model = fit(points, model)
        yield _evaluate(generation, model, truth, evaluation_points, random), model


def fit(points: Points, start: Mixture) -> Mixture:
    """Fit a mixture to points by expectation maximization, starting from `start`."""
    from sklearn.mixture import GaussianMixture

    estimate = GaussianMixture(
        len(start.weights),
        weights_init=start.weights / start.weights.sum(),
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        max_iter=1000,
    ).fit(points)
    return Mixture(estimate.weights_, estimate.means_, estimate.covariances_)


def _evaluate(
    generation: int, model: Mixture, truth: Mixture, evaluation_points: Points, random: np.random.Generator
) -> Generation:
    components = truth.log_joint(model.sample(_EVALUATION_POINTS, random)).argmax(axis=1)
    shares = np.bincount(components, minlength=len(truth.weights)) / _EVALUATION_POINTS
    return Generation(
        generation,
        modes=int((shares >= _MIN_WEIGHT_RATIO * truth.weights).sum()),
        variance=model.variance / truth.variance,
        divergence=float((truth.log_density(evaluation_points) - model.log_density(evaluation_points)).mean()),
    )
