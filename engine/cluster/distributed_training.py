"""Training a classifier on Ray Train: several workers share every batch, and resume from the checkpoint if one dies."""

import threading
from collections.abc import Callable, Iterator
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
from engine.models.devices import is_out_of_memory, use_deterministic_kernels
from engine.training.classifier.classifier_job import ClassifierJob
from engine.training.classifier.history import Row
from engine.training.classifier.train_worker import TrainWorker
from shards.errors import ShardmillError
from shards.storage.locations import filesystem

OnRow = Callable[[Row, int, int], None]
"""A callback that receives the last row of the history, its step, and the number of steps."""

_MAX_DEATHS = 3  # in a row, without a new checkpoint or evaluation between them
_POLL_S = 0.2


def train_on_ray(job: ClassifierJob, cluster: ClusterSpec, on_row: OnRow) -> None:
    """Run a training that was begun, on `job.spec.workers` processes; call `on_row` at evaluations and checkpoints.

    Raises what the training raises, SpecError if this machine has too few GPUs, and WorkersLost.
    """
    workers = job.spec.workers
    minimum = {"min_actors": max(cluster.min_actors, workers), "max_actors": None}
    with ray_session(cluster.model_copy(update=minimum)):
        _check_gpus(workers, cluster)
        messages = _WorkerMessages(on_row)
        deaths = 0
        # A worker may die after another one has written the result: then the training is finished.
        while (error := _train_until_death(job, cluster, messages)) is not None and job.result() is None:
            deaths = 1 if messages.has_progressed() else deaths + 1
            if deaths == _MAX_DEATHS:
                raise error


class _WorkerMessages:
    """The rows and errors that the workers send to the driver."""

    def __init__(self, on_row: OnRow) -> None:
        self.queue = Queue(actor_options={"num_cpus": 0})
        self._on_row, self._step, self._last_step = on_row, 0, 0

    def receive(self, seconds: float) -> None:
        """Pass all rows on; wait up to `seconds` for the first one. Raises the error that a worker sent."""
        with suppress(Empty):
            while True:
                message = self.queue.get(timeout=seconds)
                if isinstance(message, ShardmillError):
                    raise message
                row, self._step, steps = message
                self._on_row(row, self._step, steps)
                seconds = 0.01

    def has_progressed(self) -> bool:
        """Return whether a later step was received since the last call."""
        progressed, self._last_step = self._step > self._last_step, self._step
        return progressed


def _train_until_death(job: ClassifierJob, cluster: ClusterSpec, messages: _WorkerMessages) -> ShardmillError | None:
    """Train until the end, or until a process dies. Return None, or the error to raise if that was the last death."""
    errors: list[BaseException] = []
    with _ray_storage(job) as (fs, path):
        run_config = RunConfig(name=token_hex(4), storage_path=path, storage_filesystem=fs)
        trainer = _trainer(job, cluster, messages.queue, run_config)

        def fit() -> None:
            try:
                trainer.fit()
            except BaseException as error:
                errors.append(error)

        # Not in the main thread: there Ray Train turns Ctrl-C into exit code 0.
        thread = threading.Thread(target=fit, daemon=True)
        thread.start()
        while thread.is_alive():
            messages.receive(_POLL_S)
    messages.receive(_POLL_S)
    if not errors:
        return None
    (error,) = errors
    if not any(_is_death(reason) for reason in getattr(error, "worker_failures", {}).values()):
        raise error
    return WorkersLost(
        f"{job.store}: a worker died {_MAX_DEATHS} times in a row; see Ray's logs, and run the same command again"
    )


def _is_death(reason: BaseException) -> bool:
    # Ray Train wraps the error of a worker whose health check failed.
    return isinstance(getattr(reason, "health_check_failure", reason), RayActorError)


def _trainer(job: ClassifierJob, cluster: ClusterSpec, queue: Queue, run_config: RunConfig) -> TorchTrainer:
    gpus = cluster.gpus_per_actor
    resources = {"CPU": float(cluster.cpus_per_actor)} | ({"GPU": gpus} if gpus else {})
    return TorchTrainer(
        _run_worker,
        train_loop_config={"job": job, "cluster": cluster, "queue": queue},
        scaling_config=ScalingConfig(
            num_workers=job.spec.workers,
            use_gpu=gpus > 0,
            resources_per_worker=resources,
            accelerator_type=cluster.accelerator_type,
        ),
        run_config=run_config,
    )


def _run_worker(config: dict[str, Any]) -> None:
    """Run the training as one of the workers, in the worker's process."""
    import torch

    job, cluster, queue = config["job"], config["cluster"], config["queue"]
    cpus, context, device = cluster.cpus_per_actor, get_context(), str(get_device())
    torch.set_num_threads(cpus)
    use_deterministic_kernels()
    worker = TrainWorker(context.get_world_rank(), context.get_world_size(), device, job.spec.precision, cpus)
    try:
        job.run(worker, lambda rows, step, steps: queue.put((rows[-1], step, steps)))
    except ShardmillError as error:
        queue.put(error)
        raise
    except RuntimeError as error:
        if is_out_of_memory(error):
            problem = "train.batch_size: does not fit into the device's memory"
            queue.put(ModelError(f"{problem}; lower it, or raise train.workers"))
        raise


@contextmanager
def _ray_storage(job: ClassifierJob) -> Iterator[tuple[Any, str]]:
    """Return a temporary folder for the state of Ray Train, beside our files, where all nodes can reach it."""
    store = job.store / f"ray-{token_hex(4)}"
    fs, path = filesystem(store.url)
    fs.makedirs(path, exist_ok=True)
    try:
        yield pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)), path
    finally:
        with suppress(OSError):  # a folder of a bucket does not exist until it has a file
            fs.rm(path, recursive=True)


def _check_gpus(workers: int, cluster: ClusterSpec) -> None:
    gpus = ray.cluster_resources().get("GPU", 0)
    if not joins_cluster() and gpus < workers * cluster.gpus_per_actor:
        raise SpecError(
            f"train.workers: {workers} workers with cluster.gpus_per_actor={cluster.gpus_per_actor:g} need more than "
            f"the {gpus:g} GPUs of this machine; lower one of them, or set RAY_ADDRESS to join a cluster"
        )
