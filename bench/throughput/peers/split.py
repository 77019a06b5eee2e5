"""accelerate's guide to distributed inference: every process takes its share of the prompts, by batches.

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
"""Files in a folder of theirs."""
_POLL_S = 0.01


class Split:
    """So many processes, which have loaded the model and wait for `begin`; a context manager, which waits for them.

    Raises ChildProcessError where they fail to start.
    """

    def __init__(self, model: Model, processes: int, batch_size: int, count: int) -> None:
        self._folder = TemporaryDirectory()
        self._place = Path(self._folder.name)
        settings = {**asdict(model), "folder": str(model.folder)}
        task = json.dumps({"model": settings, "batch": batch_size, "count": count, "place": self._folder.name})
        line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        with (self._place / "errors").open("w") as errors:
            self._running = subprocess.Popen(
                [*line, "-m", __name__, task],
                cwd=ROOT,
                env={**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(model.threads)},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        while len(self._pids()) < processes:
            if self._running.poll() is not None:
                errors = (self._place / "errors").read_text().strip().splitlines()
                raise ChildProcessError(errors[-1] if errors else "split_between_processes failed")
            time.sleep(_POLL_S)

    def begin(self) -> Sliced:
        """Let them work."""
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
    """The work of one process."""

    def work(self, count: int, place: Path) -> None:
        """Say that it is ready, wait until it may begin, and say when all are done."""
        from accelerate import PartialState

        state = PartialState(cpu=self._model.device == "cpu")
        state.wait_for_everyone()
        (place / f"{_READY}.{os.getpid()}").touch()
        while not (place / _GO).exists():
            time.sleep(_POLL_S)
        with TemporaryDirectory() as folder:
            with state.split_between_processes(list(enumerate(prompts(count)))) as mine:
                for first in range(0, len(mine), self._batch):
                    part = mine[first : first + self._batch]
                    made = images(self._pipe, self._model, [text for _, text in part], part[0][0])
                    self.save(made, Path(folder), part[0][0])
            state.wait_for_everyone()
        if state.is_main_process:
            ended = place / f"{_ENDED}.whole"
            ended.write_text(str(time.monotonic()))
            ended.rename(place / _ENDED)
        state.wait_for_everyone()  # a process that is gone before that was said would count as failed
        state.destroy_process_group()


def main(task: str) -> None:
    settings = json.loads(task)
    model = Model(**{**settings["model"], "folder": Path(settings["model"]["folder"])})
    Share(model, settings["batch"], "jpg").work(settings["count"], Path(settings["place"]))


if __name__ == "__main__":
    main(sys.argv[1])
