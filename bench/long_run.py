"""`python -m bench long-run`: a long run to an object store while actors and drivers are killed.

It must write the same bytes as an undisturbed run, in constant memory. The store is moto's S3 on the loopback.
The embedded model generates the images on two actors. About every half minute one actor is killed by SIGKILL. The
driver is killed twice, and the same command is started again.
"""

import hashlib
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psutil
import yaml

from bench.faults.checks import Reference, problems, sha256
from bench.faults.driver import Driver
from bench.faults.matrix import kept_or_temporary
from bench.faults.places import BUCKET, Bucket, Folder, Place
from bench.faults.scene import Scene
from bench.machine import ROOT, machine
from bench.s3_server import S3, serve_s3

PER_SHARD, ACTORS = 500, 2
_DRIVER_KILLS = (1 / 3, 2 / 3)
_POLL_S = 2.0
_DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class Measurement:
    """One point of the curve: finished units, and resident memory of the driver and of its largest actor."""

    at_s: float
    units: int
    driver_mb: float
    actor_mb: float


@dataclass
class DisturbedRun:
    """A run whose actors and drivers are killed.

    kill_every_s: mean time between kills of an actor.
    curve, kills: the measurements, and the kills as pairs of time and process.
    """

    scene: Scene
    units: int
    kill_every_s: float
    curve: list[Measurement] = field(default_factory=list)
    kills: list[tuple[float, str]] = field(default_factory=list)

    def run(self) -> None:
        """Run all commands to their ends. Raises UnexpectedOutcome if one fails that was not killed."""
        random, began = Random(0), time.monotonic()
        next_kill = self._pause(random)
        driver = self._start()
        while driver.process.poll() != 0:
            now = time.monotonic() - began
            if driver.process.poll() is not None:
                driver.expect_exit(-signal.SIGKILL)
                driver = self._start()
            self.curve.append(self._measure(driver, now))
            if self._driver_is_due():
                driver.send(signal.SIGKILL)
                self.kills.append((round(now, 1), "driver"))
            elif now > next_kill and (busy := self.scene.busy_actors()):
                random.choice(busy).kill()
                self.kills.append((round(now, 1), "actor"))
                next_kill = now + self._pause(random)
            time.sleep(_POLL_S)

    def killed(self, what: str) -> int:
        """Return the number of kills of "driver" or "actor"."""
        return sum(process == what for _, process in self.kills)

    def _start(self) -> Driver:
        # The death of an actor is charged to its unit, and this run has many kills.
        return self.scene.generate("cluster.unit_attempts=100")

    def _pause(self, random: Random) -> float:
        return self.kill_every_s * random.uniform(0.5, 1.5)

    def _driver_is_due(self) -> bool:
        kills = self.killed("driver")
        return kills < len(_DRIVER_KILLS) and self.curve[-1].units >= _DRIVER_KILLS[kills] * self.units

    def _measure(self, driver: Driver, now: float) -> Measurement:
        actors = max((_megabytes(actor.pid) for actor in self.scene.actors()), default=0.0)
        return Measurement(round(now, 1), self.scene.finished_units(), _megabytes(driver.process.pid), actors)


def main(out: Path, work: Path | None, images: int, kill_every_s: float) -> None:
    with kept_or_temporary(work) as folder, serve_s3() as store, store.environment(SHARDMILL_CACHE=f"{folder}/cache"):
        result = measure(folder, store, images, kill_every_s)
    out.mkdir(parents=True, exist_ok=True)
    (out / "long_run.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / "long_run.md").write_text(_table(result), encoding="utf-8")
    _plot(result, out / "long_run.png")
    print(_table(result))
    if result["wrong"]:
        raise SystemExit(1)


def measure(folder: Path, store: S3, images: int, kill_every_s: float) -> dict[str, Any]:
    """Run twice, undisturbed to a folder and disturbed to the store; compare the results."""
    spec, started = _spec(folder, images), datetime.now(UTC).isoformat(timespec="seconds")
    with _scene(spec, Folder(folder / "undisturbed"), folder / "quiet") as quiet:
        began = time.monotonic()
        quiet.generate().expect_exit(0, timeout_s=_DAY_S)
        undisturbed_s = time.monotonic() - began
        reference = Reference.of(folder / "undisturbed", quiet.place)
    store.make_bucket(BUCKET)
    with _scene(spec, Bucket(store, "long", folder / "cache"), folder / "disturbed") as scene:
        disturbed = DisturbedRun(scene, len(reference.keys), kill_every_s)
        disturbed.run()
        requests = Counter(f"{request.method} {_kind(request.path)}" for request in store.requests())
        problems_found, hashes = list(problems(scene, reference, ())), sha256(scene.place)
    disturbed_s = disturbed.curve[-1].at_s
    return {
        "images": images,
        "worker_kills": disturbed.killed("actor"),
        "driver_kills": disturbed.killed("driver"),
        "verify_ok": not any("verify" in problem for problem in problems_found),
        "hash_equal": digest(hashes) == digest(reference.sha256),
        "images_per_second": round(images / disturbed_s, 1),
        "driver_peak_mb": max(measurement.driver_mb for measurement in disturbed.curve),
        "started": started,
        "machine": machine(),
        "wrong": problems_found,
        "units": len(reference.keys),
        "actors": ACTORS,
        "undisturbed_s": round(undisturbed_s, 1),
        "disturbed_s": disturbed_s,
        "kill_every_s": kill_every_s,
        "sha256_undisturbed": digest(reference.sha256),
        "sha256": digest(hashes),
        "requests": dict(requests.most_common()),
        "kills": disturbed.kills,
        "curve": [asdict(measurement) for measurement in disturbed.curve],
    }


def _spec(folder: Path, images: int) -> Path:
    """Write a spec of `images` images with the demo's model and prompts, without its real data."""
    content = yaml.safe_load((ROOT / "jobs/specs/digits.yaml").read_text(encoding="utf-8"))
    del content["data"], content["sweep"]
    content |= {"classes": [str(digit) for digit in range(10)], "plan": {"total": images}}
    content["output"]["samples_per_shard"] = PER_SHARD
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@contextmanager
def _scene(spec: Path, place: Place, folder: Path) -> Iterator[Scene]:
    folder.mkdir()
    scene = Scene(spec, place, ACTORS, folder)
    try:
        yield scene
    finally:
        scene.kill_all()


def _megabytes(pid: int) -> float:
    try:
        return round(psutil.Process(pid).memory_info().rss / 1e6, 1)
    except psutil.NoSuchProcess:
        return 0.0


def _kind(path: str) -> str:
    """Return the kind of file that a request is for: the ending of its name, or "others"."""
    name = path.rpartition("/")[2]
    return next((kind for kind in ("_stats.json", ".tar", ".parquet") if name.endswith(kind)), "others")


def digest(hashes: Mapping[str, str]) -> str:
    """Return one SHA-256 over the names and hashes of all files."""
    return hashlib.sha256("".join(f"{name} {sha}\n" for name, sha in sorted(hashes.items())).encode()).hexdigest()


def _table(result: Mapping[str, Any]) -> str:
    rows = {
        "images, units": f"{result['images']:,}, {result['units']:,}",
        "killed by SIGKILL": f"{result['worker_kills']} actors, {result['driver_kills']} drivers",
        "undisturbed, in a folder": f"{result['undisturbed_s']:,.0f} s",
        "disturbed, in a bucket": f"{result['disturbed_s']:,.0f} s, {result['images_per_second']:g} images/s",
        "driver's memory at most, by thirds of the run": _by_thirds(result["curve"], "driver_mb"),
        "an actor's": _by_thirds(result["curve"], "actor_mb"),
        "SHA-256 over all shards and indexes, undisturbed": f"`{result['sha256_undisturbed']}`",
        "the same, disturbed": f"`{result['sha256']}`",
        "wrong with samples, files, hashes, verify": "; ".join(result["wrong"]) or "nothing",
    }
    lines = [
        f"`python -m bench long-run`: {result['images']:,} images of the embedded model, {result['actors']} actors.",
        f"An actor is killed about every {result['kill_every_s']:g} s, and the driver twice.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
        "![units and memory over time](long_run.png)",
        "",
        f"Machine: {json.dumps(result['machine'])}",
        "",
    ]
    return "\n".join(lines)


def _by_thirds(curve: Sequence[Mapping[str, float]], name: str) -> str:
    third = -(-len(curve) // 3)
    parts = [curve[start : start + third] for start in range(0, len(curve), third)]
    return ", ".join(f"{max(measurement[name] for measurement in part):.0f}" for part in parts) + " MB"


def _plot(result: Mapping[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = [measurement["at_s"] / 60 for measurement in result["curve"]]
    figure, (upper, lower) = pyplot.subplots(2, sharex=True, figsize=(8, 5), layout="constrained")
    upper.plot(minutes, [measurement["units"] * PER_SHARD for measurement in result["curve"]], color="tab:blue")
    upper.set_ylabel("images finished")
    for name, color in (("driver", "tab:blue"), ("actor", "tab:orange")):
        megabytes = [measurement[f"{name}_mb"] for measurement in result["curve"]]
        lower.plot(minutes, megabytes, color=color, label=f"{name}, MB")
    for panel in (upper, lower):
        for at_s, what in result["kills"]:
            panel.axvline(at_s / 60, color="tab:red", linewidth=1.2 if what == "driver" else 0.5, alpha=0.5)
    upper.set_title("red: an actor was killed; thick: the driver", fontsize="small", loc="right")
    lower.set_ylabel("resident memory, MB")
    lower.set_xlabel("minutes")
    lower.set_ylim(bottom=0)
    lower.legend(loc="lower right")
    figure.savefig(path, dpi=110)
