"""`python -m bench faults`: every fault, with one actor and with four; what came of it goes to faults.json."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from unittest.mock import patch

from bench.faults import actors, autoscaler, disks, drivers, nodes, stores, units  # noqa: F401  (they enter the rows)
from bench.faults.checks import Reference, problems
from bench.faults.driver import Unexpected
from bench.faults.fault import FAULTS, Fault, Impossible
from bench.faults.places import BUCKET, Bucket, Folder
from bench.faults.scene import Scene, write_spec
from bench.machine import machine
from bench.s3_server import S3, serve_s3

WORKERS = (1, 4)


@dataclass(frozen=True)
class Row:
    """What came of a fault. detail: what was done, or what was wrong then."""

    fault: str
    workers: int
    ok: bool
    detail: str


class Matrix:
    """A spec, an undisturbed run of it, and a store: what the rows share. folder: all runs and logs go there."""

    def __init__(self, folder: Path, store: S3) -> None:
        self._folder, self._store = folder, store
        self._spec = write_spec(folder)
        store.make_bucket(BUCKET)
        undisturbed = Scene(self._spec, Folder(folder / "undisturbed"), 1, folder)
        try:
            undisturbed.generate().ends(0)
            self.reference = Reference.of(folder / "undisturbed", undisturbed.place)
        finally:
            undisturbed.end()

    def row(self, fault: Fault, workers: int) -> Row:
        """Do the fault to a run of so many actors, and look at what came of it. Raises Impossible."""
        with self._scene(fault, workers) as scene:
            try:
                fault.act(scene)
                wrong = list(problems(scene, self.reference, fault.quarantined))
            except Unexpected as error:
                wrong = [str(error)]
        return Row(fault.name, workers, not wrong, "; ".join(wrong) or fault.what)

    @contextmanager
    def _scene(self, fault: Fault, workers: int) -> Iterator[Scene]:
        name = f"{list(FAULTS).index(fault.name):02d}-{workers}"
        folder = self._folder / name
        folder.mkdir()
        place = Folder(folder / "run") if fault.where == "folder" else Bucket(self._store, name, folder / "cache")
        scene = Scene(self._spec, place, workers, folder)
        with patch.dict(os.environ, {"SHARDMILL_CACHE": str(folder / "cache")}):
            try:
                yield scene
            finally:
                scene.end()
                self._store.mend()


def chosen(names: Sequence[str] | None, quick: bool) -> list[Fault]:
    """The faults of these names, or all. Raises SystemExit for a name that there is none of."""
    for name in names or ():
        if name not in FAULTS:
            raise SystemExit(f"there is no fault {name!r}; known are: " + "; ".join(FAULTS))
    return [one for one in FAULTS.values() if (names is None or one.name in names) and (one.quick or not quick)]


def main(out: Path, work: Path | None, chosen: Sequence[Fault], workers: Sequence[int] | None) -> int:
    """Run these rows one after another; 1 if one failed, else 0."""
    rows: list[Row] = []
    with kept_or_temporary(work) as folder, serve_s3() as store, store.environment():
        matrix = Matrix(folder, store)
        for fault in chosen:
            for count in workers or WORKERS:
                rows += _told(matrix, fault, count)
                _write(out, rows)
    return int(not all(row.ok for row in rows))


@contextmanager
def kept_or_temporary(work: Path | None) -> Iterator[Path]:
    """A new folder: in `work`, to look at afterwards, or one that is removed."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield Path(mkdtemp(dir=work))
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _told(matrix: Matrix, fault: Fault, workers: int) -> list[Row]:
    started = time.monotonic()
    try:
        row = matrix.row(fault, workers)
    except Impossible as error:
        print(f"left out  {fault.name}, {workers} actors: {error}", flush=True)
        return []
    took = time.monotonic() - started
    print(f"{'ok      ' if row.ok else 'FAILED  '}  {fault.name}, {workers} actors ({took:.0f} s)", flush=True)
    if not row.ok:
        print(f"          {row.detail}", flush=True)
    return [row]


def _write(out: Path, rows: Sequence[Row]) -> None:
    """Rows of this call over those of earlier ones; rows of faults that there are no more are dropped."""
    path, names = out / "faults.json", list(FAULTS)
    earlier = [Row(**one) for one in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
    known = {(row.fault, row.workers): row for row in (*earlier, *rows) if row.fault in FAULTS}
    found = sorted(known.values(), key=lambda row: (names.index(row.fault), row.workers))
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n", encoding="utf-8")
    (out / "faults.md").write_text(_table(found), encoding="utf-8")


def _table(rows: Sequence[Row]) -> str:
    came = {(row.fault, row.workers): "ok" if row.ok else f"FAILED: {row.detail}" for row in rows}
    counts = sorted({row.workers for row in rows})
    lines = [
        "`python -m bench faults`: each fault is done to a run of 12 units, in an order that differs from command to",
        "command. `ok`: the plan's samples less the units that the row puts aside, no other file, the SHA-256 of every",
        "shard and index equal to an undisturbed run's, `verify` clean, no process left, nothing stray after the same",
        "command once more.",
        "",
        "| fault | what is done | " + " | ".join(f"{count} actor{'s' * (count > 1)}" for count in counts) + " |",
        "|---|---|" + "---|" * len(counts),
    ]
    for name in dict.fromkeys(row.fault for row in rows):
        found = " | ".join(came.get((name, count), "not run") for count in counts)
        lines.append(f"| {name} | {FAULTS[name].what} | {found} |")
    return "\n".join([*lines, "", f"Machine: {json.dumps(machine())}", ""])
