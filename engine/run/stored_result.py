"""Results that are JSON files of a run, written and read by one class each."""

import json
from typing import Self

from pydantic import ValidationError

from engine.config.strict import Strict
from engine.errors import RunMismatch
from shards.storage.retries import FileMissing
from shards.storage.store import Store


class StoredResult(Strict):
    """A result that fills one JSON file."""

    def save(self, folder: Store, name: str) -> None:
        """Write the result as `name`; a file of this name is replaced."""
        content = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        folder.replace(name, f"{content}\n".encode())
        folder.sweep()

    @classmethod
    def load(cls, folder: Store, name: str, remedy: str) -> Self | None:
        """Return the result, or None if there is no file. Raises RunMismatch with the remedy if it is damaged."""
        try:
            return cls.model_validate_json(folder.read(name))
        except FileMissing:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            reason = f"{place}: {first['msg']}" if place else first["msg"]
            raise RunMismatch(f"{folder}/{name}: damaged ({reason}); {remedy}") from None
