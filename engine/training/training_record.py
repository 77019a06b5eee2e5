"""`training.json`: what a training did. It is written last, so a folder that has it is finished."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from shards.storage.commit import replace_bytes, sweep_staging

_RECORD = "training.json"


def is_done(out: Path, fingerprint: str) -> bool:
    """Return whether `out` holds this training, finished. Raises ModelError if it holds another."""
    if not (out / _RECORD).exists():
        return False
    if json.loads((out / _RECORD).read_text(encoding="utf-8"))["fingerprint"] != fingerprint:
        raise ModelError(f"{out} holds a model of another training spec or other data; give another folder")
    return True


def weights_revision(folder: Path) -> str:
    """Return a digest of the bytes of all weights, which names the model's revision."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def write_record(out: Path, content: Mapping[str, Any]) -> None:
    """Write `training.json`, which marks the training in `out` as finished."""
    replace_bytes(out / _RECORD, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    sweep_staging(out)
