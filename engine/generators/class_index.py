"""Settings of the generators that are told a class index, and nothing in words."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from engine.config.model_settings import ModelSettings
from engine.errors import ModelError
from engine.generators.generator import Request


class ClassIndexSettings(ModelSettings):
    """A model that makes images of a class."""

    class_ids: dict[str, Annotated[int, Field(ge=0)]] = {}
    """The model's index of a class by its name; the label where a class is not named."""

    @property
    def takes_prompts(self) -> bool:
        """The class is all that it is told."""
        return False

    @property
    def named_classes(self) -> Mapping[str, Iterable[str]]:
        """Those whose index differs from the label."""
        return {**super().named_classes, "model.class_ids": self.class_ids}

    def class_id(self, request: Request, count: int) -> int:
        """The index for an image, by a model that was trained with `count` classes, or 0. Raises ModelError."""
        index = self.class_ids.get(request.class_name, request.label)
        self._check(request.class_name, index, count)
        return index

    def check_ids(self, count: int) -> None:
        """Raises ModelError where `class_ids` holds what such a model does not have."""
        for name, index in self.class_ids.items():
            self._check(name, index, count)

    def _check(self, name: str, index: int, count: int) -> None:
        if count == 0 and (index or self.class_ids):
            raise ModelError(
                f"model.source: {self.source} was trained without classes, so it cannot be asked for {name!r}; "
                "run it with one class and without class_ids"
            )
        if index >= count > 0:
            raise ModelError(
                f"model.class_ids: {name!r} is {index}, but {self.source} has the classes 0 to {count - 1}; "
                "give its index there"
            )
