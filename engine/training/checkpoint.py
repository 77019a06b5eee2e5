"""Where a killed training goes on: one file, replaced as a whole."""

import io
from dataclasses import dataclass
from typing import Any

import torch

from shards.storage.retries import FileMissing
from shards.storage.store import Store


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training in its folder. fingerprint: of all that the training follows from."""

    store: Store
    fingerprint: str
    name: str = "checkpoint.pt"

    def load(self) -> dict[str, Any] | None:
        """The last saved state on the CPU; None at the start, and where the file belongs to another training."""
        try:
            data = self.store.read(self.name)
        except FileMissing:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return state if state.pop("fingerprint") == self.fingerprint else None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file: a kill at any moment leaves the old one or the new one."""
        buffer = io.BytesIO()
        torch.save(state | {"fingerprint": self.fingerprint}, buffer)
        self.store.replace(self.name, buffer.getvalue())

    def remove(self) -> None:
        """After the training."""
        self.store.remove(self.name)
