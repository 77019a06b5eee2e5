"""Results that are JSON files of a run, written and read by one class each."""

import json
from typing import ClassVar, Self

from pydantic import ValidationError

from engine.config.strict import Strict
from engine.errors import RunMismatch
from shards.storage.retries import FileMissing
from shards.storage.store import Store


class StoredResult(Strict):
    """A result that fills one JSON file, FILE. REMEDY: what to do about a damaged one."""

    FILE: ClassVar[str]
    REMEDY: ClassVar[str]

    def write(self, folder: Store, name: str | None = None) -> None:
        """Write the file, under another name if one is given; it replaces an older one."""
        content = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        folder.replace(name or self.FILE, f"{content}\n".encode())
        folder.sweep()

    @classmethod
    def read(cls, folder: Store, name: str | None = None) -> Self | None:
        """Return the result, or None if there is no file. Raises RunMismatch if it is damaged."""
        name = name or cls.FILE
        try:
            return cls.model_validate_json(folder.read(name))
        except FileMissing:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            reason = f"{place}: {first['msg']}" if place else first["msg"]
            raise RunMismatch(f"{folder}/{name}: damaged ({reason}); {cls.REMEDY}") from None
