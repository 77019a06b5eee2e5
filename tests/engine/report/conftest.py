"""Runs that several tests read. A test that changes a run takes a copy."""

import pytest

from engine.evaluation.sweep_result import NearCopy
from engine.run.run import Run
from tests.engine.report.report_runs import (
    HELPED,
    HURT,
    NOISE,
    NOISE_AND_COPIES,
    Copier,
    copy_of,
    make_run,
    measure,
    write_results,
)


@pytest.fixture(scope="session")
def noise_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run over digits with noise as synthetic images."""
    return make_run(tmp_path_factory.mktemp("noise"), NOISE)


@pytest.fixture(scope="session")
def helped(noise_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the noise run with a sweep in which synthetic images helped."""
    run = copy_of(noise_run, tmp_path_factory.mktemp("helped"))
    write_results(run, HELPED)
    return run


@pytest.fixture(scope="session")
def hurt(helped: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the noise run with a sweep without a gain, and a validation image that is also a training image."""
    run = copy_of(helped, tmp_path_factory.mktemp("hurt"))
    copy = NearCopy(held_out="validation0000007", train="train0000001", mirrored=True, distance_ratio=0.1)
    write_results(run, HURT, near_copies=[copy])
    return run


@pytest.fixture(scope="session")
def copying(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run over digits with noise and with copies of train images."""
    folder = tmp_path_factory.mktemp("copying")
    return make_run(folder, NOISE_AND_COPIES, Copier(make_run(folder, NOISE_AND_COPIES, units=0)))


@pytest.fixture(scope="session")
def swept(copying: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the copying run with a sweep in which synthetic images helped."""
    run = copy_of(copying, tmp_path_factory.mktemp("swept"))
    write_results(run, HELPED)
    return run


@pytest.fixture(scope="session")
def measured(swept: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the swept run with measures."""
    run = copy_of(swept, tmp_path_factory.mktemp("measured"))
    measure(run, tmp_path_factory.mktemp("encoder"))
    return run
