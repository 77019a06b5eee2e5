"""Faults of an object store: it fails, refuses, loses answers, answers late, or ignores conditions."""

import signal
import sys
import time

from bench.faults.actors import kill_at
from bench.faults.driver import UnexpectedOutcome
from bench.faults.fault import fault
from bench.faults.places import Bucket
from bench.faults.scene import Scene
from bench.s3_server import S3

FILES = (".tar", ".parquet", "_stats.json")


@fault("S3 undisturbed", storage="bucket")
def undisturbed(scene: Scene) -> None:
    """Nothing happens: a bucket gets the bytes that a folder gets."""
    scene.generate().expect_exit(0)


@fault("S3 giving 500 and 503", storage="bucket")
def errors(scene: Scene) -> None:
    """500 and 503 to puts of every kind of file, some twice in a row."""
    _fail_puts(scene, "500", count=1, first=1)
    _fail_puts(scene, "503", count=2, first=3)
    _expect_no_charge(scene)


@fault("S3 giving time-outs", storage="bucket")
def silences(scene: Scene) -> None:
    """Connections end before anything is stored: at once, and after 20 silent seconds."""
    _fail_puts(scene, "hang-up", count=2, first=1)
    _store(scene).fail("time-out", method="PUT", contains=".parquet", first=5)
    _expect_no_charge(scene)


@fault("S3 giving 409", storage="bucket")
def conflicts(scene: Scene) -> None:
    """409 to conditional puts of every kind of file, twice in a row: try again, says S3."""
    _fail_puts(scene, "409", count=2, first=2)
    _expect_no_charge(scene)


@fault("put stored and answer lost", storage="bucket", quick=True)
def lost(scene: Scene) -> None:
    """Every kind of file is stored and the connection ends before the answer: the put that is sent again is refused."""
    _fail_puts(scene, "lost", count=1, first=2)
    _expect_no_charge(scene)


@fault("store that ignores conditions", storage="bucket")
def unconditional(scene: Scene) -> None:
    """The store overwrites what it is told not to: refused before anything is spent, and then allowed by name."""
    _store(scene).ignore_conditions()
    try:
        scene.generate().expect_exit(1, "cluster.best_effort_commit=true")
        if scene.place.names():
            raise UnexpectedOutcome("files were written where a second writer would overwrite them")
        scene.generate("cluster.best_effort_commit=true").expect_exit(0)
    finally:
        _store(scene).ignore_conditions(False)


@fault("S3: death between shard and stats file", storage="bucket")
def published(scene: Scene) -> None:
    """SIGKILL to an actor whose shard is stored and whose stats file is not."""
    driver = scene.generate()
    unit = kill_at(scene, driver, lambda unit, final, _: f"{unit}.tar" in final and f"{unit}_stats.json" not in final)
    driver.expect_exit(0, "(1 of 3 attempts used)", f"unit {unit}")


@fault("S3: put that arrives after its worker died", storage="bucket")
def late(scene: Scene) -> None:
    """The store takes 20 seconds over a shard's put; its actor is killed meanwhile, and another makes the unit."""
    store = _store(scene)
    store.fail("late", method="PUT", contains=".tar", first=2)
    driver = scene.generate()
    shards = f"{scene.place.url.removeprefix('s3:/')}/shards/"
    driver.wait_until(lambda: sum(put.path.endswith(".tar") for put in store.requests("PUT", shards)) >= 2)
    for actor in scene.busy_actors():
        actor.send_signal(signal.SIGKILL)
    driver.expect_exit(0, "(1 of 3 attempts used)")


@fault("S3 failing for a minute", storage="bucket")
def away(scene: Scene) -> None:
    """The store answers 503 to every put of a shard for a minute, longer than one put is tried: the command waits."""
    store, driver = _store(scene), scene.generate()
    scene.wait_until_busy(driver)
    store.fail("503", method="PUT", contains="/shards/", count=sys.maxsize)
    driver.wait_until(lambda: "the store does not answer" in driver.output())
    time.sleep(60)
    store.mend()
    driver.expect_exit(0, "(0 of 3 attempts used)")
    if "(1 of 3 attempts used)" in driver.output():
        raise UnexpectedOutcome(f"a unit was charged for what its store did: {driver.tail()}")


@fault("S3: access withdrawn", storage="bucket")
def refused(scene: Scene) -> None:
    """The store refuses everyone from the middle on; once it does not any more, the same command."""
    store, driver = _store(scene), scene.generate()
    scene.wait_until_busy(driver)
    store.refuse_everyone()
    try:
        driver.expect_exit(1, "access is refused", "run the same command again")
    finally:
        store.refuse_everyone(False)
    scene.generate().expect_exit(0)


def _store(scene: Scene) -> S3:
    assert isinstance(scene.place, Bucket)
    return scene.place.store


def _fail_puts(scene: Scene, fault: str, *, count: int, first: int) -> None:
    """Let `count` puts of each kind of file fail, beginning with number `first`."""
    for ending in FILES:
        _store(scene).fail(fault, method="PUT", contains=ending, first=first, count=count)


def _expect_no_charge(scene: Scene) -> None:
    """Run to the end, and check that no unit was charged for a fault of the store."""
    driver = scene.generate()
    driver.expect_exit(0)
    if "attempts used)" in driver.output():
        raise UnexpectedOutcome(f"a unit had to be made again: {driver.output()}")
