"""The order of units, their attempts, and the quarantine files."""

import json
from pathlib import Path

import pytest

from engine.cluster.work_queue import WorkQueue
from engine.config.cluster_spec import ClusterSpec
from engine.errors import UnitsFailed
from tests.cluster.fake_kind import fake_run
from tests.engine.cluster.fake_pool import raised


def test_a_queue_counts_attempts_and_quarantines_units(tmp_path: Path) -> None:
    run = fake_run(tmp_path, 3, ClusterSpec())
    queue = WorkQueue(run)
    number = queue.pop()
    queue.put_back(number)
    assert (queue.pop(), queue.attempts_used(number)) == (number, 0)
    queue.retry(number, raised(ValueError("once")))
    others = [queue.pop(), queue.pop()]
    assert queue.pop() == number, "it comes after the others"
    queue.quarantine(number, raised(ValueError("twice")))
    queue.put_back(*others)
    assert (len(queue), queue.attempts_used(number)) == (2, 2)
    with pytest.raises(UnitsFailed, match=r"1 of 3 units failed, the first is 00000: ValueError: twice; see .*quarant"):
        queue.raise_if_failed()
    assert len(json.loads((tmp_path / "quarantine/00000.json").read_text())["attempts"]) == 2

    resumed = WorkQueue(run)  # that of the same command again
    assert resumed.pop() == number
    resumed.mark_done(number)
    resumed.raise_if_failed()
    assert not list((tmp_path / "quarantine").glob("*.json"))
