"""The base class of the generators that run a pipeline of diffusers."""

from collections.abc import Hashable
from typing import ClassVar, Generic, TypeVar

from engine.config.cluster_spec import ClusterSpec
from engine.config.output_spec import ImageSpec
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import Request

Settings = TypeVar("Settings", bound=DiffusersSettings)


class DiffusersGenerator(Generic[Settings]):
    """A generator with a pipeline of diffusers. A subclass names the `loader` and adds `generate`."""

    loader: ClassVar[str]
    """Class of diffusers whose `from_pretrained` loads the pipeline."""

    def __init__(self, model: Settings, image: ImageSpec, cluster: ClusterSpec) -> None:
        from engine.generators.diffusers_pipeline import DiffusersPipeline

        self._pipe = DiffusersPipeline(self.loader, model, image, cluster)
        self._model = model
        self.batch_size, self.device, self.facts = model.fixed_batch_size(), self._pipe.device, self._pipe.facts

    def batch_key(self, request: Request) -> Hashable:
        """Return the adapters of a request and, where it matters, the lengths of its captions."""
        return self._pipe.batch_key(request)
