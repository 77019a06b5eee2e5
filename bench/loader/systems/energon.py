"""Megatron-Energon: prepared tars, crude samples and a cooker."""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import megatron.energon as energon
from megatron.energon.edataclass import edataclass

from bench.loader.decode import Batch, decode, stack
from bench.loader.systems.tars import write_tars
from bench.loader.workloads import Samples, Workload

SETTINGS = (
    "16 prepared tars; a cooker that leaves images encoded, decoded behind shuffle_buffer_size of up to 1000; "
    "max_samples_per_sequence 100, get_loader"
)


def write(samples: Samples, folder: Path) -> None:
    write_tars(samples, folder)
    prepare = Path(sys.executable).with_name("energon")
    line = [prepare, "prepare", folder, "--non-interactive", "--no-progress", "--num-workers", "1"]
    line += ["--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


@edataclass
class Labelled(energon.Sample):
    """A sample whose image is encoded in the shuffle buffer and decoded after it."""

    image: Any
    label: int


@energon.stateless
def _cook(sample: dict[str, Any]) -> Labelled:
    data = sample["jpg"] if "jpg" in sample else sample["png"]
    return Labelled(**energon.basic_sample_keys(sample), image=data, label=int(sample["cls"]))


class Encoder(energon.DefaultTaskEncoder):
    decoder = None
    cookers = [energon.Cooker(_cook)]

    @energon.stateless
    def encode_sample(self, sample: Labelled) -> Labelled:
        return replace(sample, image=decode(sample.image))

    @energon.stateless
    def batch(self, samples: list[Labelled]) -> Batch:
        return stack([sample.image for sample in samples], [sample.label for sample in samples])

    @energon.stateless
    def encode_batch(self, batch: Batch) -> Batch:
        return batch


def load(folder: Path, workload: Workload, workers: int) -> Iterable[Batch]:
    dataset = energon.get_train_dataset(
        str(folder),
        worker_config=energon.WorkerConfig(rank=0, world_size=1, num_workers=workers),
        batch_size=workload.batch_size,
        shuffle_buffer_size=workload.buffer(workers),
        max_samples_per_sequence=100,
        task_encoder=Encoder(),
        repeat=False,
    )
    return energon.get_loader(dataset, prefetch_factor=4)
