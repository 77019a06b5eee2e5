"""Checkpoints: replaced as a whole, and never loaded from another training."""

from pathlib import Path

import pytest
import torch

from engine.errors import ModelError
from engine.training.checkpoint import Checkpoint
from shards.storage.open_store import open_store


def test_a_checkpoint_holds_the_last_saved_state(tmp_path: Path) -> None:
    checkpoint = Checkpoint(open_store(tmp_path / "new"), "a")
    assert checkpoint.load() is None
    for step in (1, 2):
        checkpoint.save({"done": step, "weights": torch.full((3,), step)})
    state = checkpoint.load()
    assert state is not None
    assert state["done"] == 2
    assert state["weights"].tolist() == [2, 2, 2]
    checkpoint.remove()
    assert checkpoint.load() is None


def test_a_checkpoint_of_another_training_is_not_loaded(tmp_path: Path) -> None:
    Checkpoint(open_store(tmp_path), "a").save({"done": 1})
    other = Checkpoint(open_store(tmp_path), "b")
    assert other.load() is None
    with pytest.raises(ModelError, match=r"checkpoint\.pt belongs to another spec or other data"):
        other.check_owner()


def test_a_checkpoint_is_due_when_its_interval_has_passed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert not Checkpoint(store, "a", every_seconds=3600.0).is_due
    assert Checkpoint(store, "a", every_seconds=0.0).is_due
