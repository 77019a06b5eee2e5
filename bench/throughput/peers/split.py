"""The peer accelerate: its guide to distributed inference. Every process generates its share of the prompts in batches.

python -m torch.distributed.run --nproc-per-node 2 -m bench.throughput.peers.split JSON
"""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from bench.machine import ROOT
from bench.throughput.peers import prompts
from bench.throughput.peers.loop import Loop
from bench.throughput.plain import Model, images
from bench.throughput.slices import Sliced

_READY, _GO, _ENDED = "ready", "go", "ended"
"""Files by which the processes synchronize, in a shared folder."""
_POLL_S = 0.01


class Split:
    """A group of processes that have loaded the model and wait for `begin`. Leaving the context waits for their end.

    Raises ChildProcessError if they fail to start.
    """

    def __init__(self, model: Model, processes: int, batch_size: int, count: int) -> None:
        self._folder = TemporaryDirectory()
        self._place = Path(self._folder.name)
        settings = {**asdict(model), "folder": str(model.folder)}
        job = json.dumps({"model": settings, "batch": batch_size, "count": count, "place": self._folder.name})
        line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        with (self._place / "errors").open("w") as errors:
            self._running = subprocess.Popen(
                [*line, "-m", __name__, job],
                cwd=ROOT,
                env={**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(model.threads)},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        while len(self._pids()) < processes:
            if self._running.poll() is not None:
                lines = (self._place / "errors").read_text().strip().splitlines()
                raise ChildProcessError(lines[-1] if lines else "split_between_processes failed")
            time.sleep(_POLL_S)

    def begin(self) -> Sliced:
        """Start the work."""
        (self._place / _GO).touch()
        return Sliced(self._pids(), time.monotonic(), self._ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None:
            self._running.terminate()
        self._running.wait()
        self._folder.cleanup()

    def _pids(self) -> list[int]:
        return [int(path.suffix[1:]) for path in self._place.glob(f"{_READY}.*")]

    def _ended(self) -> float | None:
        with suppress(FileNotFoundError):
            return float((self._place / _ENDED).read_text())
        return None


class Share(Loop):
    """The loop of one process over its share of the prompts."""

    def work(self, count: int, place: Path) -> None:
        """Report that the model is loaded, wait for the start, generate the share, and record the end of all shares."""
        from accelerate import PartialState

        state = PartialState(cpu=self._model.device == "cpu")
        state.wait_for_everyone()
        (place / f"{_READY}.{os.getpid()}").touch()
        while not (place / _GO).exists():
            time.sleep(_POLL_S)
        with TemporaryDirectory() as folder:
            with state.split_between_processes(list(enumerate(prompts(count)))) as share:
                for first in range(0, len(share), self._batch):
                    batch = share[first : first + self._batch]
                    generated = images(self._pipe, self._model, [text for _, text in batch], batch[0][0])
                    self.save(generated, Path(folder), batch[0][0])
            state.wait_for_everyone()
        if state.is_main_process:
            complete = place / f"{_ENDED}.whole"
            complete.write_text(str(time.monotonic()))
            complete.rename(place / _ENDED)
        state.wait_for_everyone()  # a process that exits before the end is recorded would count as failed
        state.destroy_process_group()


def main(argument: str) -> None:
    """Run one process. argument: JSON with `model`, `batch`, `count` and `place`."""
    job = json.loads(argument)
    model = Model(**{**job["model"], "folder": Path(job["model"]["folder"])})
    Share(model, job["batch"], "jpg").work(job["count"], Path(job["place"]))


if __name__ == "__main__":
    main(sys.argv[1])
