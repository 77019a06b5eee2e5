"""The checks after every fault: the run equals the undisturbed one, except for the quarantined units."""

import hashlib
import os
import re
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from bench.faults.places import Place
from bench.faults.scene import Scene
from engine.run.run import load_run

CARDS = {"README.md", "_info.json", "sizes.json"}
KINDS = (".tar", ".parquet", "_stats.json")
_A_WEEK_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Reference:
    """An undisturbed run. sha256: of each tar and index, by name. keys: the planned sample keys of each unit."""

    sha256: dict[str, str]
    keys: list[list[str]]

    @classmethod
    def of(cls, run: Path, place: Place) -> "Reference":
        """Read the reference from a finished run."""
        plan = load_run(run).context.plan
        keys = [[slot.key for slot in plan.slots(plan.unit(number))] for number in range(plan.n_units)]
        return cls(sha256(place), keys)


def sha256(place: Place) -> dict[str, str]:
    """Return the SHA-256 of each tar and index, by name."""
    names = sorted(name for name in place.names() if name.endswith(KINDS[:2]))
    return {name: hashlib.sha256(place.read(name)).hexdigest() for name in names}


def problems(scene: Scene, reference: Reference, quarantined: tuple[int, ...]) -> Iterator[str]:
    """Yield all problems of a run in which the quarantined units are missing, and no others."""
    units = [f"{number:05d}" for number in range(len(reference.keys)) if number not in quarantined]
    if left := scene.survivors():
        yield f"{len(left)} processes outlive the run, the first is {left[0][:60]}"
    if not quarantined:
        yield from _changed_by_another_command(scene)
    yield from _other_files(scene.place, {f"{unit}{kind}" for unit in units for kind in KINDS})
    if differing := [name for name, sha in sha256(scene.place).items() if sha != reference.sha256.get(name)]:
        yield f"{len(differing)} files differ from the undisturbed run's, the first is {differing[0]}"
    yield from _other_keys(scene.place, Counter(key for unit in units for key in reference.keys[int(unit)]))
    yield from _findings(scene, quarantined)


def _changed_by_another_command(scene: Scene) -> Iterator[str]:
    """Yield what the same command changes when it runs again. It must only remove old files of dead writers."""
    for path in scene.place.staged():
        os.utime(path, (time.time() - _A_WEEK_S,) * 2)
    before = sha256(scene.place)
    again = scene.generate()
    again.expect_exit(0)
    if "actor" in again.output():
        yield "the same command, over a finished run, started actors"
    if sha256(scene.place) != before:
        yield "the same command, over a finished run, changed it"
    if left := [*map(str, scene.place.staged()), *scene.place.temporary_files()]:
        yield f"{len(left)} stray files, the first is {min(left)}"


def _other_files(place: Place, expected: set[str]) -> Iterator[str]:
    names = place.names() - CARDS
    if missing := expected - names:
        yield f"{len(missing)} files are missing, the first is {min(missing)}"
    if unexpected := names - expected:
        yield f"{len(unexpected)} files too many, the first is {min(unexpected)}"


def _other_keys(place: Place, expected: Counter[str]) -> Iterator[str]:
    keys: Counter[str] = Counter()
    for name in sorted(name for name in place.names() if name.endswith(".tar")):
        with tarfile.open(fileobj=BytesIO(place.read(name))) as tar:
            keys.update(member.partition(".")[0] for member in tar.getnames() if member.endswith(".json"))
    if keys != expected:
        yield f"{len(expected - keys)} samples are missing, and {len(keys - expected)} are too many"


def _findings(scene: Scene, quarantined: tuple[int, ...]) -> Iterator[str]:
    """Yield what `verify` finds besides the quarantined units."""
    verified = scene.jobs("verify", scene.place.url)
    lines = verified.stdout.splitlines()
    expected = [rf"{number:05d}_stats\.json: missing.*" for number in quarantined] or [r"verified: .*"]
    if verified.returncode != bool(quarantined) or len(lines) != len(expected):
        yield f"verify ended with {verified.returncode}: {(verified.stdout + verified.stderr)[-300:]}"
    elif wrong := [line for line, pattern in zip(lines, expected, strict=True) if not re.fullmatch(pattern, line)]:
        yield f"verify says {wrong[0]}"
