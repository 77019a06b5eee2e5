"""The history of a training: a table with a row for each step, and TensorBoard's event files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.training.classifier.metrics import NUMBERS, Scores

Row = dict[str, Any]

SCHEMA = pa.schema(
    [("step", pa.int64()), ("epoch", pa.float64()), ("learning_rate", pa.float64()), ("loss", pa.float64())]
    + [(f"validation_{name}", pa.float64()) for name in NUMBERS]
    + [("validation_recall", pa.list_(pa.float64()))]
)
"""A row for each optimizer step, from 1 on.

loss: of the step's batch. epoch: passes over the real images so far. validation_*: scores on the real validation split,
see `metrics.Scores`; null for steps after which it was not evaluated.
"""


def with_scores(row: Mapping[str, Any], scores: Scores) -> Row:
    """Return the row with scores on validation."""
    scalars = {f"validation_{name}": getattr(scores, name) for name in NUMBERS}
    return {**row, **scalars, "validation_recall": list(scores.recall)}


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the table as a file. Equal rows give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], SCHEMA), sink)
    return sink.getvalue()


class TensorBoardWriter:
    """TensorBoard event files in a folder. start: last step before; TensorBoard drops later steps of earlier files."""

    def __init__(self, folder: Path, start: int, classes: Sequence[str]) -> None:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

        self._writer = SummaryWriter(str(folder), purge_step=start + 1 if start else None)
        self._classes = classes

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the scalars of some steps and flush them."""
        for row in rows:
            scalars = {
                name.replace("validation_", "validation/"): value for name, value in row.items() if name != "step"
            }
            recalls = scalars.pop("validation/recall", [None] * len(self._classes))
            scalars |= {f"recall/{name}": value for name, value in zip(self._classes, recalls, strict=True)}
            for tag, scalar in scalars.items():
                if scalar is not None:
                    self._writer.add_scalar(tag, scalar, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()
