"""Where a batch's time goes on a device, by events of its streams."""

import pytest
import torch

from engine.generators import stages
from engine.generators.stages import DeviceStages


@pytest.mark.parametrize("drift", [0.99, 1.0, 1.01])
def test_a_gpus_clock_that_drifts_puts_no_batch_where_it_cannot_have_been(
    drift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 5.0

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = now

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, other: "Event") -> float:
            return (other.at - self.at) * drift * 1000

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(stages.time, "perf_counter", lambda: now)
    watched = DeviceStages("cuda")
    for _ in range(100):
        asked = now
        watched.enter("denoise")
        now += 10.0
        watched.enter("decode")
        now += 1.0
        watched.enter(None)
        take = watched.take()
        now += 0.2  # until somebody looks
        denoise, decode = take()
        assert (denoise.stage, decode.stage) == ("denoise", "decode")
        assert denoise.end - denoise.start == pytest.approx(10 * drift)
        assert denoise.end == decode.start
        assert asked - 1e-6 <= denoise.start
        assert now - 0.2 - 0.12 <= decode.end <= now + 1e-6
