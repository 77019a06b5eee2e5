"""The state of an interrupted training: one file, replaced as a whole, removed at the end."""

import io
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.errors import ModelError
from shards.storage.retries import FileMissing
from shards.storage.store import Store

State = dict[str, Any]


@dataclass
class Checkpoint:
    """The saved state of a training, in a file of its folder. fingerprint: of all that the training depends on."""

    store: Store
    fingerprint: str
    name: str = "checkpoint.pt"
    every_seconds: float = 0.0
    _saved_at: float = field(default_factory=time.monotonic)

    def load(self) -> State | None:
        """Return the last saved state on the CPU; None if there is none, or if the file is another training's."""
        state = self._read()
        return None if state is None or state.pop("fingerprint") != self.fingerprint else state

    def check_owner(self) -> None:
        """Raise ModelError if the file belongs to another training, which `save` would overwrite."""
        state = self._read()
        if state is not None and state["fingerprint"] != self.fingerprint:
            raise ModelError(
                f"{self.store}/{self.name} belongs to another spec or other data; give --out an empty folder, or "
                "remove that file"
            )

    def save(self, state: State) -> None:
        """Replace the file. A kill at any moment leaves the old version or the new one."""
        content = {**state, "fingerprint": self.fingerprint}
        folder = self.store.local
        if folder is None:
            buffer = io.BytesIO()
            torch.save(content, buffer)
            self.store.replace(self.name, buffer.getvalue())
        else:  # Not by way of memory: the state of a large ControlNet has many gigabytes.
            staged = self.store.staging(self.name)
            try:
                torch.save(content, staged)
                staged.replace(folder / self.name)
            finally:
                staged.unlink(missing_ok=True)
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Return whether `every_seconds` have passed since the last save."""
        return time.monotonic() - self._saved_at >= self.every_seconds

    def remove(self) -> None:
        """Remove the file, after the training."""
        self.store.remove(self.name)

    def _read(self) -> State | None:
        try:
            with self.store.local_copy(self.name) as path:
                state: State = torch.load(path, map_location="cpu", weights_only=True)
        except FileMissing:
            return None
        return state
