"""`python -m bench collapse`, smaller: what it writes follows from the seeds."""

import json
from pathlib import Path

import pytest

from bench import collapse


def test_what_it_writes_is_whole_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SAMPLES": 30, "GENERATIONS": 6, "SEEDS": 3, "SHOWN": (0, 6)}.items():
        monkeypatch.setattr(collapse, name, value)
    for out in ("first", "second"):
        collapse.main(tmp_path / out, None)
    first, second = (json.loads((tmp_path / out / "collapse.json").read_text()) for out in ("first", "second"))
    assert first == second
    for arm in first["arms"].values():
        assert len(arm["seeds"]) == 3
        for name, intervals in arm["mean_and_ci95"].items():
            assert len(intervals) == 7, "generation 0, and six after it"
            for shown, generation in enumerate((0, 6)):
                values = [seed[shown][name] for seed in arm["seeds"]]
                mean, low, high = intervals[generation]
                assert mean == pytest.approx(sum(values) / 3, rel=1e-3)
                assert [seed[shown]["generation"] for seed in arm["seeds"]] == [generation] * 3
                assert min(values) * 0.999 <= low <= mean <= high <= max(values) * 1.001
    assert (tmp_path / "first" / "collapse.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "first" / "collapse.md").read_text()
    assert "| generation | replace: modes" in table
    assert "\n| 6 | " in table
