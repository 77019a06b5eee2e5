"""The actor: one model on one device, making unit after unit."""

import logging
import socket
from collections.abc import Collection
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray

from engine.cluster.assignments import DEPTH
from engine.cluster.ray_errors import no_room
from engine.errors import ModelError, NoStagingRoom
from engine.models.memory import out_of_memory
from engine.monitoring.trace import write_profile
from engine.run.assets import stored_assets
from engine.run.run_context import RunContext
from engine.worker.attempts import first_attempts
from engine.worker.runner import Runner, time_batch
from engine.worker.unit_builder import FinishedUnit
from shards.errors import CommitConflict, ShardError
from shards.stats import Stats
from shards.storage.locations import cache_home
from shards.storage.manifest import read_stats
from shards.storage.retries import FileMissing, first_line
from shards.storage.store import Store

if TYPE_CHECKING:
    from engine.generators.protocol import Generator

_LOG = logging.getLogger(__name__)
"""Of an actor it ends in its own file among Ray's logs."""

_CONTROL = "control"
"""Of calls that do not wait for those that make units."""


class UnitActor:
    """Loads the model once and makes the units that it is leased, one after another in the order of the calls.

    While one has the device, the next is planned and the one before is published, see `Runner`. One thread does all
    that the model does, for what torch keeps by thread, as captured graphs, would else be made for each.

    Where a batch does not fit into the device's memory it falls to half that size, and stays there.

    profile: whether to write down where the time of each unit goes, see `engine.monitoring.trace`.
    """

    def __init__(self, recipe: RunContext, store: Store, profile: bool = False) -> None:
        self._recipe, self._store, self._profile = recipe, store, profile
        self._loaded: Runner | None = None
        self._planning, self._device = (ThreadPoolExecutor(1, name) for name in ("plan", "device"))
        self._offered: dict[int, Future[FinishedUnit]] = {}
        self._recalled: set[int] = set()

    def node(self) -> str:
        """Id of the node that it is on. Called before `load`, and so known also where that fails."""
        return str(ray.get_runtime_context().get_node_id())

    def load(self) -> str:
        """Load the model and say on what. Apart from the constructor, so that its error arrives as it is."""
        pa.array([""])  # at its first array it looks for pandas, which takes as long as some batches
        return self._device.submit(lambda: self._runner().generator.device).result()

    def make(self, number: int) -> Stats | None:
        """Make one unit, see `run_unit`; all of it in batches of the size that its stats name. None where it was
        recalled before it began."""
        try:
            turns = self._planning.submit(first_attempts, self._recipe, number).result()
            if number in self._recalled:
                return None
            runner = self._loaded or self._device.submit(self._runner).result()
            self._offered[number] = unit = runner.offer(turns)
            self._device.submit(runner.run)
            return self._publish(unit.result())
        except CancelledError:
            return None
        except OSError as error:
            if self._store.local is None and no_room(error):
                raise self._no_staging_room(error) from error
            raise
        finally:
            self._offered.pop(number, None)
            self._recalled.discard(number)

    @ray.method(concurrency_group=_CONTROL)
    def recall(self, number: int) -> None:
        """Do not begin this unit. It is made all the same where it has begun, or is just about to."""
        self._recalled.add(number)
        if unit := self._offered.get(number):
            unit.cancel()

    def time_batch(self) -> float:
        """Seconds for one batch of the plan's first slots; another one before it warms up. Raises ModelError."""
        try:
            return self._device.submit(lambda: time_batch(self._recipe, self._runner().generator)).result()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            size = self._recipe.spec.model.batch_size
            raise ModelError(
                f"model.batch_size: {size} images at once do not fit into the device's memory; a run would fall to "
                "smaller batches by itself, and wastes no time with a smaller one in the spec"
            ) from None

    def rate(self, batch_size: int) -> float | None:
        """Images per second in batches of this size, see `unit_rate`; None where the device has no room for one.
        Without torch.compile, which would take minutes for each size."""
        return self._device.submit(self._rate, batch_size).result()

    def _rate(self, batch_size: int) -> float | None:
        from torch.compiler import set_stance

        from engine.worker.batch_size import unit_rate

        runner = self._runner()
        if batch_size != runner.batch_size:
            runner.resize(batch_size)
        try:
            with set_stance("force_eager"):
                return unit_rate(self._recipe, runner.generator)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        return None

    def _publish(self, made: FinishedUnit) -> Stats:
        try:
            stats = made.publish()
        except CommitConflict as conflict:  # it was finished, in batches of another size or by another kind of device,
            try:  # by an actor whose answer was lost: that one counts
                return read_stats(self._store / "shards", made.shard)
            except FileMissing:
                raise conflict from None
        if self._profile:
            try:
                write_profile(self._store, made.shard, made.timeline)
            except (OSError, ShardError) as error:  # the unit is finished: what is only told about it cannot fail it
                _LOG.warning("no profile of unit %s: %s: %s", made.shard, type(error).__name__, first_line(error))
        return stats

    def _no_staging_room(self, error: OSError) -> NoStagingRoom:
        return NoStagingRoom(
            f"{cache_home()} on {socket.gethostname()}: {error.strerror}; shards are staged there on their way to "
            f"{self._store}, of which nothing that was finished is lost: make room there, or set SHARDMILL_CACHE to a "
            "folder on a larger disk, and run the same command again"
        )

    def _runner(self) -> Runner:
        """Of the device's thread."""
        if self._loaded is None:
            spec = self._recipe.spec
            inputs = stored_assets(self._recipe.inputs.digests, spec, self._store / "inputs")
            self._recipe = replace(self._recipe, inputs=inputs)
            generator = self._generator(spec.model.fixed_batch_size())
            self._loaded = Runner(self._recipe, generator, self._store / "shards", self._generator)
        return self._loaded

    def _generator(self, batch_size: int) -> "Generator":
        from engine.generators.registry import load_generator

        spec = self._recipe.spec
        return load_generator(spec.model.with_batch_size(batch_size), spec.output.image, spec.cluster)


def start_actor(recipe: RunContext, store: Store, avoided: Collection[str] = (), profile: bool = False) -> Any:
    """Ask Ray for a UnitMaker of the run at `store`, on another node than those avoided, by their ids.

    Ray never restarts it: one that came back after its replacement would be a second.
    """
    cluster = recipe.spec.cluster
    options: dict[str, Any] = {
        "num_gpus": cluster.gpus_per_actor,
        "num_cpus": cluster.cpus_per_actor,
        "accelerator_type": cluster.accelerator_type,
        "max_concurrency": DEPTH,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
    if avoided:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"}
    kind = ray.remote(concurrency_groups={_CONTROL: 1})(UnitActor)  # type: ignore[call-overload]  # its stubs lack it
    return kind.options(**options).remote(recipe, store, profile)
