"""Faults of files: a full disk, a lost folder, changed shards, wrong clocks, broken real images."""

import os
import random
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.faults.driver import Driver, UnexpectedOutcome
from bench.faults.fault import Unsupported, fault
from bench.faults.places import Folder
from bench.faults.scene import CLASSES, UNITS, Scene
from engine.run.run import load_run
from engine.workflows.repairing import findings

_DISK_BYTES = 4_000_000
_CUTS = 300
_DAYS_S = 3 * 24 * 3600


@fault("disk full")
def full(scene: Scene) -> None:
    """The disk of the run fills in the middle; the same command once there is room."""
    with small_disk(scene) as disk:
        driver = scene.generate()
        scene.wait_until_busy(driver)
        ballast = disk / "ballast"
        _fill(ballast)
        driver.expect_exit(1, "No space left on device", "run the same command again")
        ballast.unlink()
        scene.generate().expect_exit(0)


@fault("output folder vanishing")
def vanishing(scene: Scene) -> None:
    """The run's folder is moved away in the middle, as when a mount goes, and comes back once the command has ended;
    then the same command. What was made meanwhile is no part of it."""
    folder = _folder(scene)
    away = folder.with_name("away")
    driver = scene.generate()
    scene.wait_until_busy(driver)
    folder.rename(away)
    driver.expect_exit(1, "run the same command again")
    shutil.rmtree(folder, ignore_errors=True)
    away.rename(folder)
    scene.generate().expect_exit(0)


@fault("shard truncated at 300 places, and one bit flipped")
def cut(scene: Scene) -> None:
    """A finished shard is cut at 300 places, and one of its bits is flipped: each time verify's own function names it;
    repair then makes it anew."""
    scene.generate().expect_exit(0)
    run, whole = load_run(scene.place.url), scene.place.read("00003.tar")
    places = random.Random(0).sample(range(len(whole)), _CUTS - 2)
    for place in (0, *places, len(whole) - 1):
        scene.place.write("00003.tar", whole[:place])
        if [finding.shard for finding in findings(run)] != ["00003"]:
            raise UnexpectedOutcome(f"verify does not name a shard that was cut at byte {place}")
    scene.place.write("00003.tar", whole)
    _flip(scene, "00003.tar")
    _expect_repair(scene, "00003.tar: changed since it was written")


@fault("S3: one bit flipped", storage="bucket")
def flipped(scene: Scene) -> None:
    """A bit of a finished shard's index is flipped in an object store: verify names it, repair makes it anew."""
    scene.generate().expect_exit(0)
    _flip(scene, "00007.parquet")
    _expect_repair(scene, "00007.parquet: changed since it was written")


@fault("torn shard in the way")
def torn(scene: Scene) -> None:
    """Half of a shard lies under a unit's name, as other software left it: the unit is put aside, repair makes it."""
    driver = scene.generate()
    scene.wait_until_busy(driver, 1)
    driver.press_ctrl_c()
    driver.expect_exit(130)
    whole = scene.place.read(min(name for name in scene.place.names() if name.endswith(".tar")))
    place = next(n for n in range(UNITS) if f"{n:05d}.tar" not in scene.place.names())
    scene.place.write(f"{place:05d}.tar", whole[: len(whole) // 2])
    scene.generate().expect_exit(1, f"the first is {place:05d}: CommitConflict", "repair")
    _expect_repair(scene, f"{place:05d}_stats.json: missing")


@fault("real data with corrupt, empty, huge and lying images")
def broken_data(scene: Scene) -> None:
    """Among the real images are a cut one, an empty one, one of 40,000 x 40,000 and a text named .jpg. They change
    nothing of the run, which reads none of them; a sweep, which does, names each."""
    folder = scene.spec.parent / "real" / CLASSES[1]
    whole = (folder / "0.png").read_bytes()
    broken = {
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "huge.png": _huge_png(),
        "lying.jpg": b"no image\n",
    }
    paths = [folder / name for name in broken]
    try:
        for path, data in zip(paths, broken.values(), strict=True):
            path.write_bytes(data)
        scene.generate().expect_exit(0)
        for _ in paths:
            sweep = scene.jobs("sweep", scene.spec, "--out", scene.place.url)
            if sweep.returncode != 1 or "corrupt image" not in sweep.stderr:
                raise UnexpectedOutcome(f"sweep ended with {sweep.returncode}: {sweep.stderr[-300:]}")
            next(path for path in paths if str(path) in sweep.stderr).unlink()
            shutil.rmtree(_folder(scene) / "real", ignore_errors=True)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


@fault("clock jumps")
def clock(scene: Scene) -> None:
    """The clocks of two hosts differ by days: every file of a run in the making looks old to a second driver, then as
    if it came from the future."""
    drivers: list[Driver] = []
    for shift_s in (-_DAYS_S, _DAYS_S):
        drivers.append(scene.generate("cluster.unit_attempts=5"))
        scene.wait_until_busy(drivers[-1], scene.finished_units() + 1)
        for path in (*_folder(scene).rglob("*.tar"), *_folder(scene).rglob("*.parquet"), *scene.place.staged()):
            os.utime(path, (time.time() + shift_s,) * 2)
    drivers.append(scene.generate("cluster.unit_attempts=5"))
    for driver in drivers:
        driver.expect_exit(0)


def _folder(scene: Scene) -> Path:
    assert isinstance(scene.place, Folder)
    return scene.place.path


def _flip(scene: Scene, name: str) -> None:
    data = bytearray(scene.place.read(name))
    data[len(data) // 2] ^= 1
    scene.place.write(name, bytes(data))


def _expect_repair(scene: Scene, finding: str) -> None:
    repair = scene.jobs("repair", scene.place.url)
    if repair.returncode or finding not in repair.stdout:
        raise UnexpectedOutcome(f"repair ended with {repair.returncode}: {repair.stdout[-300:]}{repair.stderr[-300:]}")


@contextmanager
def small_disk(scene: Scene) -> Iterator[Path]:
    """Move the run's folder to a small file system; copy its content back when the block ends."""
    disk, original = scene.folder / "disk", _folder(scene)
    disk.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "shardmill", str(disk)]
    mounted = subprocess.run(line, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise Unsupported(f"needs the right to mount: {mounted.stderr.strip()}")
    scene.place = Folder(disk / "run")
    try:
        yield disk
        shutil.copytree(disk / "run", original)
    finally:
        scene.place = Folder(original)
        scene.kill_all()
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            os.fsync(file.fileno())


def _huge_png() -> bytes:
    """Return a well-formed file of a few bytes that claims 4.8 GB of pixels."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
