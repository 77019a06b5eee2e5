"""The filter `blank` rejects images that hardly vary, and records their standard deviation."""

import numpy as np
import pytest

from engine.config.cluster_spec import ClusterSpec
from engine.filters.kinds.blank import BlankFilter, BlankSettings


def test_only_images_that_hardly_vary_are_rejected() -> None:
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    spread = np.where(draw.random((8, 8, 3)) < 0.5, 100, 108).astype(np.uint8)  # a standard deviation of about 4
    pixels = np.stack([noise, np.full((8, 8, 3), 7, np.uint8), spread])
    verdicts = BlankFilter(BlankSettings(name="blank", min_std=4.5), ClusterSpec())(pixels, [])
    assert [verdict.reason for verdict in verdicts] == ["", "blank", "blank"]
    scores = [verdict.scores["score_std"] for verdict in verdicts]
    assert scores == pytest.approx([image.std() for image in pixels])
