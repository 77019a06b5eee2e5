"""Out of memory on an actor: its units restart in smaller batches, and their stats record the batch size."""

import json
from pathlib import Path

import pytest
import torch

from engine.cluster.actor import UnitActor
from engine.config.cluster_spec import ClusterSpec
from engine.errors import ModelError
from engine.models.devices import is_out_of_memory
from engine.run.run import Run
from engine.worker.batch_size import choose, measure
from engine.worker.replay import replay
from shards.storage.manifest import read_index
from tests.cluster.fake_kind import fake_run


def loaded_actor(run: Run) -> UnitActor:
    actor = UnitActor(run.context, run.store)
    actor.load()
    return actor


def tar_hashes(run: Run) -> list[str]:
    return [run.shards.sha256(name) for name in run.shards.entries() if name.endswith(".tar")]


def test_a_batch_that_does_not_fit_is_halved_for_whole_units(tmp_path: Path) -> None:
    small_memory = fake_run(tmp_path / "small_memory", 2, ClusterSpec(), fits=1)
    actor = loaded_actor(small_memory)
    assert [actor.generate_unit(number)["batch_size"] for number in range(2)] == [1, 1]
    assert not list((tmp_path / "small_memory/shards/.staging").glob("*"))

    large_memory = fake_run(tmp_path / "large_memory", 2, ClusterSpec())
    assert [loaded_actor(large_memory).generate_unit(number)["batch_size"] for number in range(2)] == [4, 4]
    assert set(tar_hashes(large_memory)).isdisjoint(tar_hashes(small_memory)), "another batch size gives other images"

    # A unit in smaller batches equals the unit of a spec with that batch size.
    small_batch = fake_run(tmp_path / "small_batch", 2, ClusterSpec())
    spec = small_batch.context.spec.model_copy(update={"model": small_batch.context.spec.model.with_batch_size(1)})
    actor = loaded_actor(Run(small_batch.store, type(small_batch.context)(spec, small_batch.context.plan)))
    for number in range(2):
        actor.generate_unit(number)
    assert tar_hashes(small_batch) == tar_hashes(small_memory)


def test_replay_takes_the_batch_size_of_the_unit(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", 1, ClusterSpec(), fits=2)
    loaded_actor(run).generate_unit(0)
    key = read_index(run.shards, "00000")["key"][5].as_py()
    assert replay(run, key).equal
    stats = json.loads(run.shards.read("00000_stats.json"))
    run.shards.replace("00000_stats.json", json.dumps(stats | {"batch_size": 4}).encode())
    large_memory = fake_run(tmp_path / "run", 1, ClusterSpec())
    assert not replay(large_memory, key).equal, "a batch of the spec's size gives another image"


def test_a_single_image_that_does_not_fit_fails_its_unit(tmp_path: Path) -> None:
    actor = loaded_actor(fake_run(tmp_path, 1, ClusterSpec(), fits=0))
    for _ in range(2):  # the actor still works
        with pytest.raises(torch.cuda.OutOfMemoryError):
            actor.generate_unit(0)


def test_timing_a_batch_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.batch_size: a batch of 4 images does not fit"):
        loaded_actor(fake_run(tmp_path, 1, ClusterSpec(), fits=2)).time_batch()


def test_a_batch_size_that_does_not_fit_is_not_chosen(tmp_path: Path) -> None:
    actor = loaded_actor(fake_run(tmp_path, 1, ClusterSpec(), fits=2, seconds=0.05))
    rates = dict(measure(actor.images_per_second, 16))
    assert list(rates) == [1, 2, 4]
    assert rates[4] is None
    assert choose(rates) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (MemoryError("out of memory"), False),
    ],
)
def test_which_errors_a_smaller_batch_may_avoid(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_error_of_a_real_allocator_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float64)
    assert is_out_of_memory(caught.value)
