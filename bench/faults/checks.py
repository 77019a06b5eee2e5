"""What must hold after every fault: the run is the undisturbed one, less what is declared to be put aside."""

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
    """An undisturbed run. sha256: of every tar and index, by name; keys: of the slots of each unit, by the plan."""

    sha256: dict[str, str]
    keys: list[list[str]]

    @classmethod
    def of(cls, run: Path, place: Place) -> "Reference":
        """Of a finished run."""
        plan = load_run(run).context.plan
        keys = [[slot.key for slot in plan.slots(plan.unit(number))] for number in range(plan.n_units)]
        return cls(sha256(place), keys)


def sha256(place: Place) -> dict[str, str]:
    """SHA-256 of every tar and index."""
    names = sorted(name for name in place.names() if name.endswith(KINDS[:2]))
    return {name: hashlib.sha256(place.read(name)).hexdigest() for name in names}


def problems(scene: Scene, reference: Reference, aside: tuple[int, ...]) -> Iterator[str]:
    """All that is wrong with a run that lacks the units `aside` and no other."""
    units = [f"{number:05d}" for number in range(len(reference.keys)) if number not in aside]
    if left := scene.survivors():
        yield f"{len(left)} processes outlive the run, the first is {left[0][:60]}"
    if not aside:
        yield from _changed_by_another_command(scene)
    yield from _other_files(scene.place, {f"{unit}{kind}" for unit in units for kind in KINDS})
    found = sha256(scene.place)
    if differing := [name for name, sha in found.items() if sha != reference.sha256.get(name)]:
        yield f"{len(differing)} files differ from the undisturbed run's, the first is {differing[0]}"
    yield from _other_keys(scene.place, Counter(key for unit in units for key in reference.keys[int(unit)]))
    yield from _findings(scene, aside)


def _changed_by_another_command(scene: Scene) -> Iterator[str]:
    """The same command once more makes nothing, and sweeps what dead writers left, once that is old."""
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
    found = place.names() - CARDS
    if lacking := expected - found:
        yield f"{len(lacking)} files are missing, the first is {min(lacking)}"
    if more := found - expected:
        yield f"{len(more)} files too many, the first is {min(more)}"


def _other_keys(place: Place, expected: Counter[str]) -> Iterator[str]:
    found: Counter[str] = Counter()
    for name in sorted(name for name in place.names() if name.endswith(".tar")):
        with tarfile.open(fileobj=BytesIO(place.read(name))) as tar:
            found.update(member.partition(".")[0] for member in tar.getnames() if member.endswith(".json"))
    if found != expected:
        yield f"{len(expected - found)} samples are missing, and {len(found - expected)} are too many"


def _findings(scene: Scene, aside: tuple[int, ...]) -> Iterator[str]:
    """What verify finds besides the units that are put aside."""
    verified = scene.jobs("verify", scene.place.url)
    said = verified.stdout.splitlines()
    expected = [rf"{number:05d}_stats\.json: missing.*" for number in aside] or [r"verified: .*"]
    if verified.returncode != bool(aside) or len(said) != len(expected):
        yield f"verify ended with {verified.returncode}: {(verified.stdout + verified.stderr)[-300:]}"
    elif wrong := [line for line, want in zip(said, expected, strict=True) if not re.fullmatch(want, line)]:
        yield f"verify says {wrong[0]}"
