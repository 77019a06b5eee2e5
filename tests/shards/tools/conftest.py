"""The source folder of the reshard tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shards.codec import encode_mask
from tests.shards.tools.shard_folders import make_sample, write_folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [make_sample(i, score=i / 2, license="cc0-1.0") for i in range(40)]
    samples = [replace(sample, mask=encode_mask(np.full((4, 6), i, np.uint8))) for i, sample in enumerate(samples)]
    return write_folder(tmp_path_factory.mktemp("source"), samples, 12, license="cc0-1.0", model="m", revision="1")
