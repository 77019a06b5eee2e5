"""Class-conditional diffusion transformers: no prompt, the condition is the class index (Peebles and Xie, 2022)."""

from collections.abc import Hashable, Sequence
from typing import Literal, Self

from pydantic import model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import ImageSpec
from engine.errors import ModelError
from engine.generators.class_index import ClassIndexSettings
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request

_EMPTY_CLASS = 1000
"""What the pipeline of diffusers guides away from, whatever the model."""


class ClassConditionalSettings(ClassIndexSettings, DiffusersSettings):
    """A DiT pipeline."""

    kind: Literal["class-conditional"]

    @model_validator(mode="after")
    def _has_its_own_size(self) -> Self:
        if self.width is not None or self.height is not None:
            raise ValueError("width and height are the model's own; to store another size, say output.image.size")
        return self


class ClassConditional:
    """Images of a class."""

    def __init__(self, model: ClassConditionalSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        from engine.generators.diffusers_pipeline import DiffusersPipeline

        self._pipe = DiffusersPipeline("DiTPipeline", model, image, cluster)
        self._model, self._classes = model, self._pipe.n_classes
        model.check_ids(self._classes)
        if model.guidance > 1 and self._classes != _EMPTY_CLASS:
            raise ModelError(
                f"model.guidance: its empty class is number {_EMPTY_CLASS}, and {model.source} has {self._classes} "
                "classes; say guidance: 1"
            )
        self.batch_size, self.device, self.facts = model.fixed_batch_size(), self._pipe.device, self._pipe.facts

    def shape(self, request: Request) -> Hashable:
        """All alike."""
        return self._pipe.shape(request)

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Denoise and decode one batch."""
        return self._pipe(requests, class_labels=[self._model.class_id(one, self._classes) for one in requests])


GENERATORS.register(ClassConditionalSettings, ClassConditional)
