"""Where an interrupted training goes on: one file per stage, replaced by a rename, removed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engine.errors import ModelError

State = dict[str, Any]


@dataclass
class StageCheckpoint:
    """A stage's state on disk. `fingerprint` names the spec and the data that it belongs to."""

    path: Path
    fingerprint: str
    every_seconds: float
    _saved_at: float = field(default_factory=time.monotonic)

    def load(self) -> State | None:
        """The last saved state, or None at the very start. Raises ModelError if it belongs to another training."""
        if not self.path.exists():
            return None
        state: State = torch.load(self.path, map_location="cpu", weights_only=True)
        if state.pop("fingerprint") != self.fingerprint:
            raise ModelError(
                f"{self.path} belongs to another spec or other data; give --out an empty folder, or remove that file"
            )
        return state

    def save(self, state: State) -> None:
        """Replace the file as a whole, so that a kill at any moment leaves a good one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".tmp")
        torch.save({**state, "fingerprint": self.fingerprint}, fresh)
        fresh.replace(self.path)
        self._saved_at = time.monotonic()

    def save_if_due(self, state: Callable[[], State]) -> None:
        """Save when the interval has passed."""
        if time.monotonic() - self._saved_at >= self.every_seconds:
            self.save(state())
