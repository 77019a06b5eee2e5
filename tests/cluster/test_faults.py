"""Rows of the fault matrix with one actor: three of them always, all others with `make test-slow`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.faults.fault import FAULTS, Unsupported
from bench.faults.matrix import Matrix
from bench.s3_server import serve_s3
from tests.conftest import FAKE_MODEL

ALWAYS = (
    "worker SIGKILL three times",
    "driver SIGKILL before the card, and resume",
    "unit that raises",
)


# A node of this fault cannot import diffusers, which the fake generator does not need.
WITH_REAL_MODEL = "model that fails to load on one node only"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with serve_s3() as store, store.environment():
        yield Matrix(tmp_path_factory.mktemp("faults"), store, FAKE_MODEL | {"seconds": 0.4})


@pytest.mark.parametrize(
    "name",
    [
        name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow)
        for name in FAULTS
        if name != WITH_REAL_MODEL
    ],
)
def test_run_ends_as_if_nothing_had_happened(matrix: Matrix, name: str) -> None:
    check(matrix, name)


@pytest.mark.slow
def test_a_node_without_diffusers_leaves_the_run_to_others(tmp_path: Path) -> None:
    with serve_s3() as store, store.environment():
        check(Matrix(tmp_path, store), WITH_REAL_MODEL)


def check(matrix: Matrix, name: str) -> None:
    try:
        row = matrix.run_fault(FAULTS[name], workers=1)
    except Unsupported as error:
        pytest.skip(str(error))
    assert row.ok, row.detail
