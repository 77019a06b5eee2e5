"""A long run to an object store while actors and drivers are killed: the same bytes as without, in constant memory.

The store is moto's S3 on the loopback. The embedded model makes the images, on two actors. Every half minute or so one
of them is killed by SIGKILL, and twice the driver, whose command is then started again.
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
_LOOK_EVERY_S = 2.0
_DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class Moment:
    """The measurements at one time: finished units, and resident memory of the driver and of its largest actor."""

    at_s: float
    units: int
    driver_mb: float
    actor_mb: float


@dataclass
class Disturbed:
    """A run whose actors and drivers are killed, and what was seen of it. kill_every_s: an actor, on average."""

    scene: Scene
    units: int
    kill_every_s: float
    curve: list[Moment] = field(default_factory=list)
    kills: list[tuple[float, str]] = field(default_factory=list)

    def run(self) -> None:
        """Run all commands to their ends. Raises UnexpectedOutcome if one fails that was not killed."""
        random, began = Random(0), time.monotonic()
        due = self._pause(random)
        driver = self._command()
        while driver.process.poll() != 0:
            now = time.monotonic() - began
            if driver.process.poll() is not None:
                driver.expect_exit(-signal.SIGKILL)
                driver = self._command()
            self.curve.append(self._look(driver, now))
            if self._driver_is_due():
                driver.send(signal.SIGKILL)
                self.kills.append((round(now, 1), "driver"))
            elif now > due and (busy := self.scene.busy_actors()):
                random.choice(busy).kill()
                self.kills.append((round(now, 1), "actor"))
                due = now + self._pause(random)
            time.sleep(_LOOK_EVERY_S)

    def killed(self, what: str) -> int:
        """Return the number of kills."""
        return sum(one == what for _, one in self.kills)

    def _command(self) -> Driver:
        # An actor's death is charged to its unit, and the kills here are many.
        return self.scene.generate("cluster.unit_attempts=100")

    def _pause(self, random: Random) -> float:
        return self.kill_every_s * random.uniform(0.5, 1.5)

    def _driver_is_due(self) -> bool:
        done = self.killed("driver")
        return done < len(_DRIVER_KILLS) and self.curve[-1].units >= _DRIVER_KILLS[done] * self.units

    def _look(self, driver: Driver, now: float) -> Moment:
        actors = max((_megabytes(one.pid) for one in self.scene.actors()), default=0.0)
        return Moment(round(now, 1), self.scene.finished_units(), _megabytes(driver.process.pid), actors)


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
    """Make the run twice, undisturbed to a folder and disturbed to the store, and compare."""
    spec, started = _spec(folder, images), datetime.now(UTC).isoformat(timespec="seconds")
    with _scene(spec, Folder(folder / "undisturbed"), folder / "quiet") as quiet:
        began = time.monotonic()
        quiet.generate().expect_exit(0, timeout_s=_DAY_S)
        undisturbed_s = time.monotonic() - began
        reference = Reference.of(folder / "undisturbed", quiet.place)
    store.make_bucket(BUCKET)
    with _scene(spec, Bucket(store, "long", folder / "cache"), folder / "disturbed") as scene:
        disturbed = Disturbed(scene, len(reference.keys), kill_every_s)
        disturbed.run()
        requests = Counter(f"{one.method} {_kind(one.path)}" for one in store.requests())
        wrong, shas = list(problems(scene, reference, ())), sha256(scene.place)
    disturbed_s = disturbed.curve[-1].at_s
    return {
        "images": images,
        "worker_kills": disturbed.killed("actor"),
        "driver_kills": disturbed.killed("driver"),
        "verify_ok": not any("verify" in problem for problem in wrong),
        "hash_equal": digest(shas) == digest(reference.sha256),
        "images_per_second": round(images / disturbed_s, 1),
        "driver_peak_mb": max(moment.driver_mb for moment in disturbed.curve),
        "started": started,
        "machine": machine(),
        "wrong": wrong,
        "units": len(reference.keys),
        "actors": ACTORS,
        "undisturbed_s": round(undisturbed_s, 1),
        "disturbed_s": disturbed_s,
        "kill_every_s": kill_every_s,
        "sha256_undisturbed": digest(reference.sha256),
        "sha256": digest(shas),
        "requests": dict(requests.most_common()),
        "kills": disturbed.kills,
        "curve": [asdict(moment) for moment in disturbed.curve],
    }


def _spec(folder: Path, images: int) -> Path:
    """The demo's spec without its real data, in which the same model makes so many images."""
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
    """Return the kind of object that a request is about: the ending of a file's name, or a listing."""
    name = path.rpartition("/")[2]
    return next((kind for kind in ("_stats.json", ".tar", ".parquet") if name.endswith(kind)), "others")


def digest(shas: Mapping[str, str]) -> str:
    """One SHA-256 for those of all files, with their names."""
    return hashlib.sha256("".join(f"{name} {sha}\n" for name, sha in sorted(shas.items())).encode()).hexdigest()


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
        f"`python -m bench long-run`: {result['images']:,} images of the embedded model, {result['actors']} actors; an",
        f"actor is killed every {result['kill_every_s']:g} s or so, and the driver twice.",
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
    return ", ".join(f"{max(one[name] for one in part):.0f}" for part in parts) + " MB"


def _plot(result: Mapping[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = [one["at_s"] / 60 for one in result["curve"]]
    figure, (upper, lower) = pyplot.subplots(2, sharex=True, figsize=(8, 5), layout="constrained")
    upper.plot(minutes, [one["units"] * PER_SHARD for one in result["curve"]], color="tab:blue")
    upper.set_ylabel("images finished")
    for name, color in (("driver", "tab:blue"), ("actor", "tab:orange")):
        lower.plot(minutes, [one[f"{name}_mb"] for one in result["curve"]], color=color, label=f"{name}, MB")
    for panel in (upper, lower):
        for at_s, what in result["kills"]:
            panel.axvline(at_s / 60, color="tab:red", linewidth=1.2 if what == "driver" else 0.5, alpha=0.5)
    upper.set_title("red: an actor was killed; thick: the driver", fontsize="small", loc="right")
    lower.set_ylabel("resident memory, MB")
    lower.set_xlabel("minutes")
    lower.set_ylim(bottom=0)
    lower.legend(loc="lower right")
    figure.savefig(path, dpi=110)
