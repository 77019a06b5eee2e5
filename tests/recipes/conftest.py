"""One Ray for all recipes: starting it takes longer than making their images."""

from collections.abc import Iterator

import pytest

from engine.cluster.ray_session import ray_session
from engine.config.cluster_spec import ClusterSpec
from tests.recipes.harness import ACTORS


@pytest.fixture(scope="module", autouse=True)
def ray_of_three() -> Iterator[None]:
    with ray_session(ClusterSpec(min_actors=ACTORS)):
        yield
