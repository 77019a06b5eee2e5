"""Measures of prompt diversity, and the comparison of strategies."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.evaluation.measure_result import REAL
from engine.evaluation.prompt_diversity import compare_diversity, mean_distance, vendi_score
from engine.run.run import load_run
from tests.conftest import Jobs, make_run, text_of, write_spec


def directions(count: int, dimensions: int, seed: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    drawn = np.random.default_rng(seed).normal(size=(count, dimensions))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@given(st.integers(2, 30), st.integers(2, 20), st.integers(0, 99))
def test_measures_are_what_their_definitions_say(count: int, dimensions: int, seed: int) -> None:
    features = directions(count, dimensions, seed)
    pairs = [1 - features[a] @ features[b] for a in range(count) for b in range(count) if a != b]
    assert mean_distance(features) == pytest.approx(np.mean(pairs))
    values = np.linalg.eigvalsh(features @ features.T / count)
    positive = values[values > 1e-12]
    assert vendi_score(features) == pytest.approx(np.exp(-(positive * np.log(positive)).sum()))
    assert 1 - 1e-9 <= vendi_score(features) <= min(count, dimensions) + 1e-9


def test_equal_and_orthogonal_features() -> None:
    same, different = np.tile([[1.0, 0, 0, 0]], (4, 1)), np.eye(4)
    assert (mean_distance(same), vendi_score(same)) == (pytest.approx(0), pytest.approx(1))
    assert (mean_distance(different), vendi_score(different)) == (pytest.approx(1), pytest.approx(4))
    assert mean_distance(same[:1]) == 0


STRATEGIES = {
    "mix": [
        {"name": "one", "templates": ["a handwritten digit {class}"]},
        {
            "name": "varied",
            "templates": ["a {w} {s} digit {class}"],
            "attributes": {"w": ["thin", "bold"], "s": ["small", "large"]},
        },
    ]
}


def test_strategies_are_compared_beside_real_images(jobs: Jobs, tmp_path: Path) -> None:
    parts = {
        "name": "mixed",
        "seed": 2,
        "data": {"source": "digits", "train_per_class": 10},
        "plan": {"per_class": 16},
        "prompts": STRATEGIES,
        "model": {"source": "embedded/digits", "steps": 4, "batch_size": 32},
        "output": {"samples_per_shard": 160, "image": {"size": 32}},
        "train": {"steps": 40},
    }
    run = load_run(make_run(write_spec(tmp_path, parts), tmp_path / "mixed"))
    diversity = {row.group: row for row in compare_diversity({"mixed": run})}
    assert list(diversity) == [REAL, "mixed: one", "mixed: varied"]
    single, varied = diversity["mixed: one"], diversity["mixed: varied"]
    assert (single.images, single.prompts, single.combinations) == (80, 1, 1)
    assert (varied.images, varied.prompts, varied.combinations) == (80, 4, 4)
    assert all(1 <= each.vendi <= each.encoded == 8 for each in diversity.values())
    assert all(0 < each.distance < 1 for each in diversity.values())

    shown = jobs("diversity", tmp_path / "mixed")
    assert shown.returncode == 0, text_of(shown)
    assert "mixed: varied" in shown.stdout

    other = load_run(make_run(write_spec(tmp_path, parts), tmp_path / "other"))
    object.__setattr__(other.context.plan, "classes", ("a",))
    with pytest.raises(SpecError, match="different classes"):
        compare_diversity({"mixed": run, "other": other})
