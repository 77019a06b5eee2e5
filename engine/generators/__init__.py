"""What turns a batch of requests into pixels. The protocol is in `base`; each generator is one file."""

from engine.generators.base import Generator, ModelFacts, Request
from engine.spec import ClusterSpec, ImageSpec, ModelSpec

__all__ = ["Generator", "ModelFacts", "Request", "load_generator"]


def load_generator(model: ModelSpec, image: ImageSpec, cluster: ClusterSpec) -> Generator:
    """Load the model onto this process's device. Raises ModelError."""
    from engine.generators.diffusion import DiffusionGenerator

    return DiffusionGenerator(model, image, cluster)
