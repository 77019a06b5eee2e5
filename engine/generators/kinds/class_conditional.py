"""Class-conditional diffusion transformers, whose condition is a class index (DiT; Peebles and Xie, 2022)."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import ImageSpec
from engine.errors import ModelError
from engine.generators.class_index import ClassIndexSettings
from engine.generators.diffusers_generator import DiffusersGenerator
from engine.generators.diffusers_settings import DiffusersSettings
from engine.generators.generator import PendingImages, Request

_EMPTY_CLASS = 1000  # the class that the pipeline of diffusers guides away from, for any model


class ClassConditionalSettings(ClassIndexSettings, DiffusersSettings):
    """A DiT pipeline."""

    kind: Literal["class-conditional"]

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.width is not None or self.height is not None:
            raise ValueError("width and height are the model's own; to store another size, say output.image.size")
        return self


class ClassConditional(DiffusersGenerator[ClassConditionalSettings]):
    """A generator of images of a class."""

    loader = "DiTPipeline"

    def __init__(self, model: ClassConditionalSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        super().__init__(model, image, cluster)
        self._classes = int(self._pipe.pipeline.transformer.config.num_embeds_ada_norm)
        model.check_class_ids(self._classes)
        if model.guidance > 1 and self._classes != _EMPTY_CLASS:
            raise ModelError(
                f"model.guidance: its empty class is number {_EMPTY_CLASS}, and {model.source} has {self._classes} "
                "classes; say guidance: 1"
            )

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Make one batch from its classes."""
        class_ids = [self._model.class_id(request, self._classes) for request in requests]
        return self._pipe.generate(requests, class_labels=class_ids)


GENERATORS.register(ClassConditionalSettings, ClassConditional)
