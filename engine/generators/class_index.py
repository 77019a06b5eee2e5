"""Settings of the generators whose only condition is a class index."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from engine.config.model_settings import ModelSettings
from engine.errors import ModelError
from engine.generators.generator import Request


class ClassIndexSettings(ModelSettings):
    """The settings of a model that makes images of a class."""

    class_ids: dict[str, Annotated[int, Field(ge=0)]] = {}
    """The model's index of a class, by class name. A class that is not named has its label as index."""

    @property
    def takes_prompts(self) -> bool:
        """False: the class is the only condition."""
        return False

    @property
    def named_classes(self) -> Mapping[str, Iterable[str]]:
        """The classes of `class_ids`."""
        return {**super().named_classes, "model.class_ids": self.class_ids}

    def class_id(self, request: Request, count: int) -> int:
        """Return the class index for an image. Raises ModelError. count: classes that the model has, or 0."""
        index = self.class_ids.get(request.class_name, request.label)
        self._check(request.class_name, index, count)
        return index

    def check_class_ids(self, count: int) -> None:
        """Raise ModelError if `class_ids` contains an index that a model of `count` classes does not have."""
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
