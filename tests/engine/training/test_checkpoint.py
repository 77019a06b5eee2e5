"""The state of a training: replaced as a whole, and never taken from another training."""

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


def test_a_checkpoint_is_saved_when_its_interval_has_passed(tmp_path: Path) -> None:
    rare, frequent = (
        Checkpoint(open_store(tmp_path), "a", name, seconds) for name, seconds in (("r", 3600.0), ("f", 0.0))
    )
    for checkpoint in (rare, frequent):
        checkpoint.save_if_due(lambda: {"done": 1})
    assert rare.load() is None
    assert frequent.load() == {"done": 1}
