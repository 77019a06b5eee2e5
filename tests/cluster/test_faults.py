"""The quick half of the fault matrix; the whole of it is `make faults`."""

from collections.abc import Iterator

import pytest

from bench.faults.fault import FAULTS, Unsupported
from bench.faults.matrix import Matrix, select_faults
from bench.s3_server import serve_s3


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with serve_s3() as store, store.environment():
        yield Matrix(tmp_path_factory.mktemp("faults"), store)


@pytest.mark.parametrize("name", [one.name for one in select_faults(None, quick=True)])
def test_a_run_ends_as_if_nothing_had_happened(matrix: Matrix, name: str) -> None:
    try:
        row = matrix.run_fault(FAULTS[name], workers=1)
    except Unsupported as error:
        pytest.skip(str(error))
    assert row.ok, row.detail
