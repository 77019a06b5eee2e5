"""Loading of the generator that a spec names."""

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS, ModelSettings
from engine.config.output_spec import ImageSpec
from engine.generators.generator import Generator


def load_generator(model: ModelSettings, image: ImageSpec, cluster: ClusterSpec) -> Generator:
    """Load the model onto this process's device. Raises ModelError."""
    generator: Generator = GENERATORS.make(model, image, cluster)
    return generator
