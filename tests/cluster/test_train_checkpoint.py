"""A Ray Train checkpoint holds the position of the stream: another number of workers resumes from there."""

import json
from pathlib import Path
from typing import Any

import pytest

from shards import MixedStream, ShardStream
from shards.loader import ShardLoader
from tests.shards.folders import write


def _batches(folders: list[str], state: Any, rank: int, world_size: int) -> tuple[list[list[str]], Any]:
    """Read two batches. Return the keys of this rank's part of each, and the loader's state."""
    streams = [ShardStream(folder, threads=1) for folder in folders]
    loader = ShardLoader(MixedStream(*streams, 0.5, batch_size=12, rank=rank, world_size=world_size), steps=2)
    if state is not None:
        loader.load_state_dict(state)
    return [list(batch["key"]) for batch in loader], loader.state_dict()


def _train(config: dict[str, Any]) -> None:
    """Report two batches, with the loader's state as the checkpoint."""
    import tempfile

    from ray import train

    rank, world_size = train.get_context().get_world_rank(), train.get_context().get_world_size()
    keys, state = _batches(config["folders"], None, rank, world_size)
    Path(config["out"], f"rank{rank}.json").write_text(json.dumps(keys))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "stream.json").write_text(json.dumps(state))
        train.report({"batches": len(keys)}, checkpoint=train.Checkpoint.from_directory(folder))


@pytest.mark.slow
@pytest.mark.usefixtures("shared_ray")
@pytest.mark.filterwarnings("ignore")  # of Ray Train's own
def test_another_world_size_resumes_from_a_checkpoint(tmp_path: Path) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folders = [str(write(tmp_path / "real", "r", 21, False)), str(write(tmp_path / "made", "s", 50, True))]
    whole = MixedStream(*[ShardStream(folder) for folder in folders], 0.5, batch_size=12)
    result = TorchTrainer(
        _train,
        train_loop_config={"folders": folders, "out": str(tmp_path)},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(storage_path=str(tmp_path / "train"), name="two"),
    ).fit()
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for number in range(2):
        together = [""] * 12
        for rank, keys in enumerate(ranks):
            together[rank::2] = keys[number]
        assert together == list(whole.batch(number).key)
    assert result.checkpoint is not None
    with result.checkpoint.as_directory() as folder:
        state = json.loads(Path(folder, "stream.json").read_text())
    assert state["batch"] == 2
    keys, state = _batches(folders, state, 0, 1)
    assert keys == [list(whole.batch(number).key) for number in (2, 3)]
    assert state["batch"] == 4
