"""The number of actors that fit on the nodes, and the number that is requested."""

import pytest

from engine.cluster.nodes import Nodes, actors_that_fit
from engine.config.cluster_spec import ClusterSpec


@pytest.mark.parametrize(
    ("resources", "cluster", "count"),
    [
        ({"CPU": 8.0}, {}, 8),
        ({"CPU": 7.0}, {"cpus_per_actor": 2}, 3),
        ({"memory": 1.0}, {}, 0),
        ({"CPU": 8.0}, {"gpus_per_actor": 1}, 0),
        ({"CPU": 8.0, "GPU": 4.0}, {"gpus_per_actor": 1}, 4),
        ({"CPU": 8.0, "GPU": 5.0}, {"gpus_per_actor": 2}, 2),
        ({"CPU": 3.0, "GPU": 4.0}, {"gpus_per_actor": 1}, 3),
        ({"CPU": 99.0, "GPU": 2.0}, {"gpus_per_actor": 0.25}, 8),
        (
            {"CPU": 99.0, "GPU": 2.0},
            {"gpus_per_actor": 0.4},
            4,
        ),  # 5 * 0.4 = 2 GPUs, but an actor needs its share on a single GPU
        ({"CPU": 9.0, "GPU": 2.0, "accelerator_type:L4": 1.0}, {"gpus_per_actor": 1, "accelerator_type": "L4"}, 2),
        ({"CPU": 9.0, "GPU": 2.0, "accelerator_type:T4": 1.0}, {"gpus_per_actor": 1, "accelerator_type": "L4"}, 0),
    ],
)
def test_how_many_actors_fit_on_a_node(resources: dict[str, float], cluster: dict, count: int) -> None:
    assert actors_that_fit(resources, ClusterSpec(**cluster)) == count


def test_how_many_actors_are_requested() -> None:
    def target(**cluster: int) -> int:
        nodes = Nodes(ClusterSpec(**cluster))  # type: ignore[arg-type]
        nodes.capacity, nodes.draining = {"a": 2, "b": 3, "c": 4}, frozenset({"c"})
        return nodes.target_actors(avoided={"b"})

    assert target() == 2, "count only nodes that are not draining and can load the model"
    assert target(min_actors=5) == 5
    assert target(max_actors=40) == 40, "pending actors make an autoscaler start nodes"
    assert target(max_actors=1) == 1
