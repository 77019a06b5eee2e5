"""Fixtures of the training tests: one thread for small networks, and shards of digits."""

from collections.abc import Iterator

import pytest
import torch

from engine.training.classifier.training_data import TrainData
from tests.engine.training.digit_shards import write_digits


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: those of a small network wait for each other on a shared machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> TrainData:
    """Write shards of digits with labels."""
    return write_digits(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> TrainData:
    """Write shards of digits with masks of their ink."""
    return write_digits(tmp_path_factory.mktemp("masked"), masks=True)
