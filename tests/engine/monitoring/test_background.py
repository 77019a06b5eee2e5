"""Background tasks: one runs at a time, and every wait has a limit."""

import threading

from engine.monitoring.background import BackgroundTask


def test_one_task_runs_at_a_time_and_the_last_one_follows() -> None:
    background, gate, calls = BackgroundTask(0.0), threading.Event(), []
    assert background.start(lambda: calls.append(gate.wait(60)))
    assert not background.start(lambda: calls.append("second"))
    gate.set()
    background.finish(lambda: calls.append("last"))
    assert calls == [True, "last"]


def test_a_slow_task_is_not_waited_for_beyond_the_timeout() -> None:
    background, gate, calls = BackgroundTask(0.0), threading.Event(), []
    background.start(lambda: calls.append(gate.wait(60)))
    background.finish(lambda: calls.append("last"), timeout=0.01)
    assert calls == []
    gate.set()
