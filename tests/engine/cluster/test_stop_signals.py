"""Ctrl-C and SIGTERM: recorded by handlers, raised by the loop."""

import os
import signal
import subprocess
import sys

import pytest

from engine.cluster.stopping import StopSignals
from engine.errors import Stopped
from tests.conftest import ROOT


def test_signals_are_recorded_and_raised_by_the_loop_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        signals.raise_if_stopped()
        assert signals.drain_requested
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped, match="stopped by SIGINT; run the same command again") as caught:
            signals.raise_if_stopped()
        assert caught.value.exit_code == 130
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` sends it: to the process, and to its group
        with pytest.raises(Stopped, match="stopped by SIGTERM") as caught:
            signals.raise_if_stopped()
        assert caught.value.exit_code == 143
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


HANGING_LOOP = """
import os, signal, time
from engine.cluster import stopping
stopping._EXIT_AFTER_S = 0.2
with stopping.StopSignals():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_a_loop_that_hangs_is_ended_by_the_next_signal() -> None:
    result = subprocess.run([sys.executable, "-c", HANGING_LOOP], cwd=ROOT, timeout=30, check=False)
    assert result.returncode == 143
