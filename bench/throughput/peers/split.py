"""accelerate's guide to distributed inference: every process takes its share of the prompts, by batches.

python -m torch.distributed.run --nproc-per-node 2 -m bench.throughput.peers.split FOLDER STEPS DTYPE BATCH COUNT
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import ROOT
from bench.throughput.peers import MARK, prompts
from bench.throughput.peers.loop import Loop
from bench.throughput.plain import Model, images


def rate(model: Model, processes: int, batch_size: int, count: int) -> float:
    """Images per second of so many processes."""
    asked = json.dumps({"model": {**asdict(model), "folder": str(model.folder)}, "batch": batch_size, "count": count})
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*line, "-m", __name__, asked],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(model.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not found:
        raise RuntimeError(f"split_between_processes failed:\n{done.stderr[-2000:]}")
    return float(found[0].removeprefix(MARK))


class Share(Loop):
    """What one process does."""

    def measure(self, count: int) -> float:
        """Images per second of all processes: from when all are ready until the last is done."""
        from accelerate import PartialState

        state = PartialState(cpu=self._model.device == "cpu")
        with TemporaryDirectory() as folder:
            state.wait_for_everyone()
            began = time.perf_counter()
            with state.split_between_processes(list(enumerate(prompts(count)))) as mine:
                for first in range(0, len(mine), self._batch):
                    part = mine[first : first + self._batch]
                    made = images(self._pipe, self._model, [text for _, text in part], part[0][0])
                    self.save(made, Path(folder), part[0][0])
            state.wait_for_everyone()
            return count / (time.perf_counter() - began)


def main(asked: str) -> None:
    import torch.distributed

    told = json.loads(asked)
    model = Model(**{**told["model"], "folder": Path(told["model"]["folder"])})
    found = Share(model, told["batch"], "jpg").measure(told["count"])
    if torch.distributed.get_rank() == 0:
        print(f"{MARK}{found}", flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
