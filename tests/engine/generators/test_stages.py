"""The times of stages on a GPU, from events of its streams."""

import pytest
import torch

from engine.generators import stages
from engine.generators.stages import DeviceStages


@pytest.mark.parametrize("drift", [0.99, 1.0, 1.01])
def test_clock_drift_stays_within_bounds(drift: float, monkeypatch: pytest.MonkeyPatch) -> None:
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
    device_stages = DeviceStages("cuda")
    for _ in range(100):
        recorded = now
        device_stages.begin("denoise")
        now += 10.0
        device_stages.begin("decode")
        now += 1.0
        device_stages.begin(None)
        spans = device_stages.take_spans()
        now += 0.2  # until somebody reads the spans
        denoise, decode = spans()
        assert (denoise.stage, decode.stage) == ("denoise", "decode")
        assert denoise.end - denoise.start == pytest.approx(10 * drift)
        assert denoise.end == decode.start
        assert recorded - 1e-6 <= denoise.start
        assert now - 0.2 - 0.12 <= decode.end <= now + 1e-6
