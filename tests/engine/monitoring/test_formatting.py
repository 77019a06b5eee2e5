"""Durations and file sizes as text."""

import pytest

from engine.monitoring.formatting import format_bytes, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599.6, "1:00:00"), (7384, "2:03:04"), (266_584, "3 d 2:03:04")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_sizes() -> None:
    assert [format_bytes(size) for size in (1.23e7, 4.5e9, 1.2e12)] == ["12.3 MB", "4.5 GB", "1.2 TB"]
