"""However many actors make a run, it is the same run."""

from pathlib import Path

import pytest

from tests.cluster.conftest import Generate
from tests.conftest import Jobs, hashes


@pytest.mark.parametrize("actors", [1, 3])
def test_bytes_do_not_depend_on_the_number_of_actors(
    actors: int, generate: Generate, jobs: Jobs, tiny_run: Path
) -> None:
    driver = generate("--set", f"cluster.min_actors={actors}", "--set", f"cluster.max_actors={actors}")
    driver.until(lambda: len(driver.actors()) == actors)
    assert driver.wait() == 0, driver.text()
    assert hashes(driver.run) == hashes(tiny_run)  # which was made without Ray
    verified = jobs("verify", driver.run)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert driver.leftovers() == []
