"""A folder with the inputs that specs name by path, and specs that use them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.config.spec import Spec
from engine.config.spec_file import load_spec
from engine.prompts.prompt_bank import BankRow, write_bank

PALETTE = {"road": [140, 140, 140], "car": [0, 102, 200], "person": [150, 5, 61]}
CONTROLNET = {"kind": "controlnet", "source": "embedded/digits", "controlnet": "embedded/digits"}
SHAPES = {"source": "shapes", "palette": PALETTE, "background": "road"}
Change = Callable[[Path], dict[str, Any]]
"""Spoils what lies in a folder, and gives what to change of a spec."""


def fill(folder: Path) -> Path:
    """Write `layouts` and `photos` of two classes, and a `bank.parquet` of prompts for them."""
    noise = np.random.default_rng(0)
    colours = np.array(list(PALETTE.values()), np.uint8)
    for name in ("car", "person"):
        for number in range(3):
            for kind in ("layouts", "photos"):
                path = folder / kind / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                indices = noise.integers(0, 3, (16, 16))
                noisy = noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(colours[indices] if kind == "layouts" else noisy).save(path)
    bank(folder / "bank.parquet", "car", "person")
    return folder


def bank(path: Path, *classes: str) -> None:
    write_bank(path, [BankRow(name, f"a {name} {number}", "", "m", "i", 0) for name in classes for number in range(2)])


def layouts(place: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model": CONTROLNET,
        "condition": {"source": "layouts", "path": str(place / "layouts"), "palette": PALETTE} | changes,
    }


def photos(place: Path) -> dict[str, Any]:
    data = {"source": "imagefolder", "path": str(place / "photos")}
    return {"data": data | {"splits": {"world": 0, "train": 1, "validation": 0, "test": 0}}, "classes": None}


def edges(place: Path) -> dict[str, Any]:
    return photos(place) | {"model": CONTROLNET, "condition": {"source": "real", "edges": {}}}


def of_bank(place: Path) -> dict[str, Any]:
    return {"prompts": {"bank": str(place / "bank.parquet")}}


def spec(place: Path, change: dict[str, Any]) -> Spec:
    content = {"name": "x", "classes": ["car", "person"], "plan": {"per_class": 4}, "filters": []}
    content |= {"model": {"source": "embedded/digits"}, "output": {"samples_per_shard": 4}} | change
    path = place / "spec.yaml"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return load_spec(path)
