"""The Ray actor: one model on one device, which generates unit after unit."""

import logging
import socket
from collections.abc import Collection
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray

from engine.cluster.assignments import UNITS_PER_ACTOR
from engine.cluster.ray_errors import is_disk_full
from engine.errors import ModelError, NoStagingRoom
from engine.generators.generator import Generator, load_generator
from engine.models.devices import is_out_of_memory
from engine.monitoring.trace import write_profile
from engine.run.assets import stored_assets
from engine.run.run_context import RunContext
from engine.worker.attempts import first_attempts
from engine.worker.batch_size import unit_rate
from engine.worker.runner import Runner, time_batch
from engine.worker.unit_builder import WrittenUnit
from shards.errors import CommitConflict, ShardError
from shards.stats import Stats
from shards.storage.locations import cache_home
from shards.storage.manifest import read_stats
from shards.storage.retries import FileMissing, first_line
from shards.storage.store import Store

# Ray writes the log of an actor to a file of that actor, among Ray's own logs.
_LOG = logging.getLogger(__name__)

_CONTROL = "control"  # the concurrency group of calls that do not wait for the calls that generate units


class UnitActor:
    """A process that loads the model once and generates units, in the order of the calls; see `Runner`.

    profile: write down how long each stage of a unit takes, see `engine.monitoring.trace`.
    """

    def __init__(self, context: RunContext, store: Store, profile: bool = False) -> None:
        self._context, self._store, self._profile = context, store, profile
        self._runner: Runner | None = None
        # One thread makes all calls to the model: torch keeps state by thread, such as captured graphs.
        self._planning, self._device = (ThreadPoolExecutor(1, name) for name in ("plan", "device"))
        self._futures: dict[int, Future[WrittenUnit]] = {}
        self._cancelled: set[int] = set()

    def node(self) -> str:
        """Return the id of the actor's node."""
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> str:
        """Load the model and return the name of its device."""
        # Not in the constructor: Ray would wrap the error of a model that does not load.
        pa.array([""])  # the first array imports pandas, which takes as long as some batches
        return self._device.submit(lambda: self._loaded_runner().generator.device).result()

    def generate_unit(self, number: int) -> Stats | None:
        """Generate and publish one unit; return its stats, or None if it was cancelled before it began.

        Raises what `run_unit` raises, and NoStagingRoom.
        """
        try:
            attempts = self._planning.submit(first_attempts, self._context, number).result()
            if number in self._cancelled:
                return None
            runner = self._runner or self._device.submit(self._loaded_runner).result()
            self._futures[number] = unit = runner.offer(attempts)
            self._device.submit(runner.run)
            return self._publish(unit.result())
        except CancelledError:
            return None
        except OSError as error:
            if self._store.local is not None or not is_disk_full(error):
                raise
            raise NoStagingRoom(
                f"{cache_home()} on {socket.gethostname()}: {error.strerror}; shards are staged there on their way to "
                f"{self._store}. Finished shards are kept: make room, or set SHARDMILL_CACHE to a folder on a larger "
                "disk, and run the same command again"
            ) from error
        finally:
            self._futures.pop(number, None)
            self._cancelled.discard(number)

    @ray.method(concurrency_group=_CONTROL)
    def cancel_unit(self, number: int) -> None:
        """Do not begin this unit. A unit that has begun is finished."""
        self._cancelled.add(number)
        if unit := self._futures.get(number):
            unit.cancel()

    def time_batch(self) -> float:
        """Return the seconds of one batch of the plan's first slots, after a batch to warm up. Raises ModelError."""
        try:
            return self._device.submit(lambda: time_batch(self._context, self._loaded_runner().generator)).result()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = self._context.spec.model.batch_size
            raise ModelError(
                f"model.batch_size: a batch of {size} images does not fit into the device's memory; set a smaller one "
                "(a run would halve it by itself, after a failed batch)"
            ) from None

    def images_per_second(self, batch_size: int) -> float | None:
        """Return the rate in batches of this size, see `unit_rate`; None if a batch does not fit into the memory."""
        return self._device.submit(self._measure_rate, batch_size).result()

    def _measure_rate(self, batch_size: int) -> float | None:
        from torch.compiler import set_stance

        runner = self._loaded_runner()
        if batch_size != runner.batch_size:
            runner.resize(batch_size)
        try:
            with set_stance("force_eager"):  # torch.compile would take minutes for each batch size
                return unit_rate(self._context, runner.generator)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _publish(self, unit: WrittenUnit) -> Stats:
        try:
            stats = unit.publish()
        except CommitConflict as conflict:
            # Another actor finished the unit, but its result was lost on the way to the driver. Its shard counts.
            try:
                return read_stats(self._store / "shards", unit.shard)
            except FileMissing:
                raise conflict from None
        if self._profile:
            try:
                write_profile(self._store, unit.shard, unit.timeline)
            except (OSError, ShardError) as error:  # the unit is finished: a missing profile must not fail it
                _LOG.warning("no profile of unit %s: %s: %s", unit.shard, type(error).__name__, first_line(error))
        return stats

    def _loaded_runner(self) -> Runner:
        """Return the runner; load the model at the first call. Call it on the device's thread."""
        if self._runner is None:
            spec = self._context.spec
            assets = stored_assets(self._context.assets.digests, spec, self._store / "assets")
            self._context = replace(self._context, assets=assets)
            generator = self._load_generator(spec.model.fixed_batch_size())
            self._runner = Runner(self._context, generator, self._store / "shards", self._load_generator)
        return self._runner

    def _load_generator(self, batch_size: int) -> Generator:
        spec = self._context.spec
        return load_generator(spec.model.with_batch_size(batch_size), spec.output.image, spec.cluster)


def start_actor(context: RunContext, store: Store, avoided_nodes: Collection[str] = (), profile: bool = False) -> Any:
    """Ask Ray for a UnitActor of the run at `store`, on a node that is not in `avoided_nodes` (node ids)."""
    cluster = context.spec.cluster
    options: dict[str, Any] = {
        # With num_gpus=0, Ray leaves CUDA_VISIBLE_DEVICES unset, so the actor would see every GPU of its node.
        "num_gpus": cluster.gpus_per_actor,
        "num_cpus": cluster.cpus_per_actor,
        "accelerator_type": cluster.accelerator_type,
        "max_concurrency": UNITS_PER_ACTOR,
        # The driver owns all retries. With restarts, an actor came back after its replacement had started.
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    if avoided_nodes:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoided_nodes))})"}
    remote = ray.remote(concurrency_groups={_CONTROL: 1})  # type: ignore[call-overload]  # Ray's stubs lack it
    return remote(UnitActor).options(**options).remote(context, store, profile)
