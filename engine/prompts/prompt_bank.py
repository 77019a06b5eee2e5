"""Prompt banks: parquet files of prompts that a model wrote earlier. No language model runs during generation."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import SpecError

_TEXT_COLUMNS = ("class_name", "prompt", "source", "model", "instruction")
SCHEMA = pa.schema(
    [*(pa.field(name, pa.string(), False) for name in _TEXT_COLUMNS), pa.field("seed", pa.int64(), False)]
)


@dataclass(frozen=True, slots=True)
class BankRow:
    """A prompt, and the request that a model answered with it. source: SHA-256 of the described image, or ""."""

    class_name: str
    prompt: str
    source: str
    model: str
    instruction: str
    seed: int


def write_bank(path: Path, rows: Iterable[BankRow]) -> None:
    """Write a bank atomically, or replace one; equal rows give equal bytes."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], SCHEMA), staged, compression="zstd")
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def read_bank(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return (prompt, source) of every row by class name, in the order of the file. Raises SpecError."""
    try:
        table = pq.read_table(path, columns=["class_name", "prompt", "source"])
    except FileNotFoundError:
        raise SpecError(f"prompts.bank: no file {path}; `python -m jobs prompts` writes one") from None
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(
            f"prompts.bank: {path} is not a prompt bank ({reason}); `python -m jobs prompts` writes one"
        ) from None
    if not table.num_rows:
        raise SpecError(f"prompts.bank: {path} is empty; `python -m jobs prompts` fills it")
    rows: dict[str, list[tuple[str, str]]] = {}
    for name, prompt, source in zip(*(column.to_pylist() for column in table.itercolumns()), strict=True):
        rows.setdefault(name, []).append((prompt, source))
    return rows
