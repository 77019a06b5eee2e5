"""A Ray Train checkpoint holds where the stream stands: another number of workers goes on there."""

import json
from pathlib import Path
from typing import Any

import pytest

from shards import MixedStream, ShardStream
from tests.shards.folders import write


def _train(config: dict[str, Any]) -> None:
    """Two batches a call: the keys of this rank's part are reported, with the loader's state as the checkpoint."""
    import tempfile

    from ray import train

    from shards.loader import ShardLoader

    context = train.get_context()
    streams = [ShardStream(folder, threads=1) for folder in config["folders"]]
    mix = MixedStream(*streams, 0.5, batch_size=12, rank=context.get_world_rank(), world_size=context.get_world_size())
    loader = ShardLoader(mix, steps=2)
    if config["state"] is not None:
        loader.load_state_dict(config["state"])
    keys = [batch["key"] for batch in loader]
    Path(config["out"], f"rank{context.get_world_rank()}.json").write_text(json.dumps(keys))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "stream.json").write_text(json.dumps(loader.state_dict()))
        train.report({"batches": len(keys)}, checkpoint=train.Checkpoint.from_directory(folder))


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.filterwarnings("ignore")  # of Ray Train's own
def test_another_world_size_resumes_from_a_checkpoint(tmp_path: Path) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folders = [str(write(tmp_path / "real", "r", 21, False)), str(write(tmp_path / "made", "s", 50, True))]
    whole = MixedStream(*[ShardStream(folder) for folder in folders], 0.5, batch_size=12)
    state = None
    for start, workers in ((0, 2), (2, 1)):
        config = {"folders": folders, "state": state, "out": str(tmp_path)}
        result = TorchTrainer(
            _train,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 0.5}),
            run_config=RunConfig(storage_path=str(tmp_path / "train"), name=f"from{start}"),
        ).fit()
        assert result.checkpoint is not None
        with result.checkpoint.as_directory() as folder:
            state = json.loads(Path(folder, "stream.json").read_text())
        assert state["batch"] == start + 2
        ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(workers)]
        for number in range(2):
            together = [""] * 12
            for rank, keys in enumerate(ranks):
                together[rank::workers] = keys[number]
            assert together == list(whole.batch(start + number).key)
