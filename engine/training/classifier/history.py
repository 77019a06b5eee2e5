"""What happened at every step: a table, and TensorBoard's event files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.training.classifier.metrics import Scores

Row = dict[str, Any]

_SCALARS = ("loss", "accuracy", "macro_f1", "weighted_f1", "calibration_error", "mean_iou")
SCHEMA = pa.schema(
    [("step", pa.int64()), ("epoch", pa.float64()), ("learning_rate", pa.float64()), ("loss", pa.float64())]
    + [(f"validation_{name}", pa.float64()) for name in _SCALARS]
    + [("validation_recall", pa.list_(pa.float64()))]
)
"""A row for each optimizer step, from 1 on. loss: of its batch. epoch: how often every real image has come by then.
validation_*: of the real validation split, where it was looked at after the step, else null; see `metrics.Scores`."""


def with_scores(row: Mapping[str, Any], scores: Scores) -> Row:
    """The row of a step after which validation was looked at."""
    told = {f"validation_{name}": getattr(scores, name) for name in _SCALARS}
    return {**row, **told, "validation_recall": list(scores.recall)}


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The table as a file; equal rows make equal bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], SCHEMA), sink)
    return sink.getvalue()


class TensorBoardWriter:
    """TensorBoard event files in a folder. start: step that a resumed training goes on from; later ones are dropped."""

    def __init__(self, folder: Path, start: int, classes: Sequence[str]) -> None:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

        self._writer = SummaryWriter(str(folder), purge_step=start + 1 if start else None)
        self._classes = classes

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the scalars of some steps, and what a reader sees of them at once."""
        for row in rows:
            for name, value in row.items():
                if name == "validation_recall":
                    recalls = {f"recall/{one}": found for one, found in zip(self._classes, value, strict=True)}
                    self._write({tag: found for tag, found in recalls.items() if found is not None}, row["step"])
                elif name != "step" and value is not None:
                    self._write({name.replace("validation_", "validation/"): value}, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Nothing is written after this."""
        self._writer.close()

    def _write(self, scalars: Mapping[str, float], step: int) -> None:
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
