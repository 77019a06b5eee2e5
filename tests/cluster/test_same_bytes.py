"""The bytes of a run do not depend on the number of actors."""

import json
from pathlib import Path

import pytest

from tests.cluster.conftest import Generate
from tests.conftest import Jobs, hashes


@pytest.mark.parametrize("actors", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_bytes_do_not_depend_on_the_number_of_actors(
    actors: int, generate: Generate, jobs: Jobs, fake_run: Path
) -> None:
    chosen = ["--set", f"cluster.min_actors={actors}", "--set", f"cluster.max_actors={actors}"]
    driver = generate(*chosen, *["--profile"] * (actors > 1))
    driver.until(lambda: len(driver.actors()) == actors)
    assert driver.wait() == 0, driver.text()
    assert hashes(driver.run) == hashes(fake_run)  # which was made without Ray
    verified = jobs("verify", driver.run)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert driver.leftovers() == []
    assert _traced(driver.run) == (set(_units(driver.run)) if actors > 1 else set())


def _units(run: Path) -> list[str]:
    return [path.name.partition("_")[0] for path in (run / "shards").glob("*_stats.json")]


def _traced(run: Path) -> set[str]:
    """Return the units in the trace of a run, or none if there is no trace."""
    if not (run / "profile.json").exists():
        return set()
    events = json.loads((run / "profile.json").read_text())["traceEvents"]
    return {event["args"]["unit"] for event in events if event["ph"] == "X"}
