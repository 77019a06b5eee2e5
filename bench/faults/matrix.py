"""`python -m bench faults`: inject every fault with one actor and with four; write the results to faults.json."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from unittest.mock import patch

from bench.faults import actors, autoscaler, disks, drivers, nodes, stores, units  # noqa: F401  (each registers its faults)
from bench.faults.checks import Reference, problems
from bench.faults.driver import UnexpectedOutcome
from bench.faults.fault import FAULTS, Fault, Unsupported
from bench.faults.places import BUCKET, Bucket, Folder
from bench.faults.scene import Scene, write_spec
from bench.machine import machine
from bench.s3_server import S3, serve_s3

WORKERS = (1, 4)


@dataclass(frozen=True)
class Row:
    """The result of a fault. detail: the description of the fault, or the problems."""

    fault: str
    workers: int
    ok: bool
    detail: str


class Matrix:
    """The common parts of all faults: spec, undisturbed run and S3 server. folder: holds all runs and logs."""

    def __init__(self, folder: Path, store: S3, model: Mapping[str, Any] | None = None) -> None:
        self._folder, self._store = folder, store
        self._spec = write_spec(folder, model)
        store.make_bucket(BUCKET)
        undisturbed = Scene(self._spec, Folder(folder / "undisturbed"), 1, folder)
        try:
            undisturbed.generate().expect_exit(0)
            self.reference = Reference.of(folder / "undisturbed", undisturbed.place)
        finally:
            undisturbed.kill_all()

    def run_fault(self, fault: Fault, workers: int) -> Row:
        """Inject a fault into a run with `workers` actors, and check the result. Raises Unsupported."""
        with self._scene(fault, workers) as scene:
            try:
                fault.inject(scene)
                problems_found = list(problems(scene, self.reference, fault.quarantined))
            except UnexpectedOutcome as error:
                problems_found = [str(error)]
        return Row(fault.name, workers, not problems_found, "; ".join(problems_found) or fault.description)

    @contextmanager
    def _scene(self, fault: Fault, workers: int) -> Iterator[Scene]:
        name = f"{list(FAULTS).index(fault.name):02d}-{workers}"
        folder = self._folder / name
        folder.mkdir()
        place = Folder(folder / "run") if fault.storage == "folder" else Bucket(self._store, name, folder / "cache")
        scene = Scene(self._spec, place, workers, folder)
        with patch.dict(os.environ, {"SHARDMILL_CACHE": str(folder / "cache")}):
            try:
                yield scene
            finally:
                scene.kill_all()
                self._store.mend()


def select_faults(names: Sequence[str] | None, quick: bool) -> list[Fault]:
    """Return the faults of these names, or all. Raises SystemExit for an unknown name."""
    for name in names or ():
        if name not in FAULTS:
            raise SystemExit(f"unknown fault {name!r}; known faults: " + "; ".join(FAULTS))
    return [fault for fault in FAULTS.values() if (names is None or fault.name in names) and (fault.quick or not quick)]


def main(out: Path, work: Path | None, faults: Sequence[Fault], workers: Sequence[int] | None) -> int:
    """Run these faults one after another; return 1 if one failed, else 0."""
    rows: list[Row] = []
    with kept_or_temporary(work) as folder, serve_s3() as store, store.environment():
        matrix = Matrix(folder, store)
        for fault in faults:
            for count in workers or WORKERS:
                rows += _run_and_print(matrix, fault, count)
                _write(out, rows)
    return int(not all(row.ok for row in rows))


@contextmanager
def kept_or_temporary(work: Path | None) -> Iterator[Path]:
    """Return a new folder: in `work`, where it is kept, or else a temporary one."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield Path(mkdtemp(dir=work))
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _run_and_print(matrix: Matrix, fault: Fault, workers: int) -> list[Row]:
    started = time.monotonic()
    try:
        row = matrix.run_fault(fault, workers)
    except Unsupported as error:
        print(f"left out  {fault.name}, {workers} actors: {error}", flush=True)
        return []
    duration_s = time.monotonic() - started
    print(f"{'ok      ' if row.ok else 'FAILED  '}  {fault.name}, {workers} actors ({duration_s:.0f} s)", flush=True)
    if not row.ok:
        print(f"          {row.detail}", flush=True)
    return [row]


def _write(out: Path, rows: Sequence[Row]) -> None:
    """Write the rows of this call and those of earlier calls, except for faults that no longer exist."""
    path, names = out / "faults.json", list(FAULTS)
    earlier = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
    known = {(row.fault, row.workers): row for row in (*earlier, *rows) if row.fault in FAULTS}
    results = sorted(known.values(), key=lambda row: (names.index(row.fault), row.workers))
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in results], indent=1) + "\n", encoding="utf-8")
    (out / "faults.md").write_text(_table(results), encoding="utf-8")


def _table(rows: Sequence[Row]) -> str:
    outcomes = {(row.fault, row.workers): "ok" if row.ok else f"FAILED: {row.detail}" for row in rows}
    counts = sorted({row.workers for row in rows})
    lines = [
        "`python -m bench faults`: each fault is injected into a run of 12 units. Each command shuffles the units.",
        "`ok` means: all samples of the plan except those of quarantined units, no other file, every shard and index",
        "with the SHA-256 of an undisturbed run, no other finding of `verify`, no process left, and no",
        "stray file after the same command runs again.",
        "",
        "| fault | what is done | " + " | ".join(f"{count} actor{'s' * (count > 1)}" for count in counts) + " |",
        "|---|---|" + "---|" * len(counts),
    ]
    for name in dict.fromkeys(row.fault for row in rows):
        cells = " | ".join(outcomes.get((name, count), "not run") for count in counts)
        lines.append(f"| {name} | {FAULTS[name].description} | {cells} |")
    return "\n".join([*lines, "", f"Machine: {json.dumps(machine())}", ""])
