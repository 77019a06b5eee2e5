"""A training on Ray Train: workers that share every batch, and that go on from the checkpoint when one dies."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Any

import pyarrow.fs
import ray
from ray.exceptions import RayActorError
from ray.train import RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer, get_device
from ray.util.queue import Empty, Queue

from engine.cluster.ray_session import joins_cluster, ray_session
from engine.config.cluster_spec import ClusterSpec
from engine.errors import ModelError, SpecError, WorkersLost
from engine.models.devices import repeat_kernels
from engine.models.memory import out_of_memory
from engine.training.classifier.classifier_job import Job
from engine.training.classifier.history import Row
from engine.training.classifier.train_worker import Worker
from shards.errors import ShardmillError
from shards.storage.locations import filesystem

Say = Callable[[Row, int, int], None]
"""Told of the last row, the step, and how many there are to be."""

_ATTEMPTS = 3
"""Deaths in a row without a new checkpoint or evaluation."""
_PATIENCE_S = 0.2


def train_on_ray(job: Job, cluster: ClusterSpec, say: Say) -> None:
    """Run a job that was begun, on `spec.workers` processes. `say` is told of each evaluation and checkpoint.

    Raises what the training raises, SpecError where this machine has too few GPUs, and WorkersLost.
    """
    workers = job.spec.workers
    wanted = cluster.model_copy(update={"min_actors": max(cluster.min_actors, workers), "max_actors": None})
    with ray_session(wanted):
        _check_gpus(workers, cluster)
        ears = _Ears(say)
        failures = 0
        # A worker may die after another one has written the result.
        while (error := _attempt(job, cluster, ears)) is not None and job.result() is None:
            failures = 1 if ears.heard() else failures + 1
            if failures == _ATTEMPTS:
                raise error


class _Ears:
    """What the workers tell, on the driver."""

    def __init__(self, say: Say) -> None:
        self.queue = Queue(actor_options={"num_cpus": 0})
        self._say, self._step, self._before = say, 0, 0

    def listen(self, seconds: float) -> None:
        """Pass on what was told, waiting for the first of it. Raises the error that a worker ended with."""
        try:
            while True:
                told = self.queue.get(timeout=seconds)
                if isinstance(told, ShardmillError):
                    raise told
                row, self._step, steps = told
                self._say(row, self._step, steps)
                seconds = 0.01
        except Empty:
            return

    def heard(self) -> bool:
        """Whether the training got further since this was last asked."""
        further, self._before = self._step > self._before, self._step
        return further


def _attempt(job: Job, cluster: ClusterSpec, ears: _Ears) -> ShardmillError | None:
    """Train until the end, or until a process dies; gives None, or what to say if that was the last attempt."""
    failed: list[BaseException] = []
    with _storage(job) as storage:
        trainer = _trainer(job, cluster, ears.queue, storage)

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as error:
                failed.append(error)

        # In the main thread Ray Train would make an exit code of 0 of Ctrl-C.
        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        while thread.is_alive():
            ears.listen(_PATIENCE_S)
    ears.listen(_PATIENCE_S)
    if not failed:
        return None
    (error,) = failed
    if not any(_is_death(reason) for reason in getattr(error, "worker_failures", {}).values()):
        raise error
    return WorkersLost(f"{job.store}: a worker died {_ATTEMPTS} times in a row; see Ray's logs, and run this again")


def _is_death(reason: BaseException) -> bool:
    """Whether a worker's process or node went, rather than its code; Ray Train wraps what it found."""
    found = getattr(reason, "health_check_failure", reason)
    return isinstance(found, RayActorError)


def _trainer(job: Job, cluster: ClusterSpec, queue: Queue, storage: tuple[Any, str]) -> TorchTrainer:
    gpus = cluster.gpus_per_actor
    resources = {"CPU": float(cluster.cpus_per_actor)} | ({"GPU": gpus} if gpus else {})
    fs, path = storage
    return TorchTrainer(
        _work,
        train_loop_config={"job": job, "cluster": cluster, "queue": queue},
        scaling_config=ScalingConfig(
            num_workers=job.spec.workers,
            use_gpu=gpus > 0,
            resources_per_worker=resources,
            accelerator_type=cluster.accelerator_type,
        ),
        run_config=RunConfig(name=token_hex(4), storage_path=path, storage_filesystem=fs),
    )


def _work(config: dict[str, Any]) -> None:
    """What every worker process does."""
    import torch

    job, cluster, queue = config["job"], config["cluster"], config["queue"]
    torch.set_num_threads(cluster.cpus_per_actor)
    repeat_kernels()
    context, device = get_context(), str(get_device())
    worker = Worker(
        context.get_world_rank(), context.get_world_size(), device, job.spec.precision, cluster.cpus_per_actor
    )
    try:
        job.run(worker, lambda rows, step, steps: _tell(queue, rows, step, steps))
    except ShardmillError as error:
        queue.put(error)
        raise
    except RuntimeError as error:
        if out_of_memory(error):
            queue.put(ModelError("train.batch_size: the device has no room for it; lower it, or raise train.workers"))
        raise


def _tell(queue: Queue, rows: Sequence[Row], step: int, steps: int) -> None:
    queue.put((rows[-1], step, steps))


@contextmanager
def _storage(job: Job) -> Iterator[tuple[Any, str]]:
    """Where Ray Train keeps its own state for a while: beside ours, where all nodes see it."""
    store = job.store / f"ray-{token_hex(4)}"
    fs, path = filesystem(store.url)
    fs.makedirs(path, exist_ok=True)
    try:
        yield pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)), path
    finally:
        with suppress(OSError):  # of a bucket's folder nothing is there until something is in it
            fs.rm(path, recursive=True)


def _check_gpus(workers: int, cluster: ClusterSpec) -> None:
    """A cluster may yet get nodes; this machine alone will not."""
    have = ray.cluster_resources().get("GPU", 0)
    if not joins_cluster() and have < workers * cluster.gpus_per_actor:
        raise SpecError(
            f"train.workers: {workers} workers of cluster.gpus_per_actor {cluster.gpus_per_actor:g} do not fit on the "
            f"{have:g} GPUs of this machine; lower one of them, or set RAY_ADDRESS to join a cluster"
        )
