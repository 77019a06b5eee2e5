"""The models of a GPU benchmark on disk, from which every system loads them like a user's model."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.throughput.architectures import Architecture, make_pipe, make_tiny_vae
from engine.generators.kinds.text_to_image import TextToImageSettings

_TRAINING = {"revision": "random weights", "license": "none", "generation": 1}
"""Provenance file of a model. Without it, gigabytes of weights would be hashed."""


@dataclass(frozen=True)
class Models:
    """Model folders with random bf16 weights, each written once. device: the device on which weights are drawn."""

    folder: Path
    device: str

    def of(self, architecture: Architecture) -> Path:
        """Return the folder of a pipeline. Architectures with equal weights share it."""
        place = self.folder / _weights_of(architecture)
        if not place.is_dir():
            began = time.monotonic()
            self._save(place, lambda: make_pipe(architecture, lambda: _tokenizer(place.with_suffix(".words"))))
            print(f"  {architecture.name}: made and saved in {time.monotonic() - began:.0f} s", flush=True)
        return place

    def tiny_vae(self, architecture: Architecture) -> Path:
        """Return the folder of a small autoencoder for the latents of an architecture."""
        place = self.folder / f"tiny-vae-{architecture.latent[0]}"
        if not place.is_dir():
            self._save(place, lambda: make_tiny_vae(architecture))
        return place

    def settings(self, architecture: Architecture, **changes: Any) -> TextToImageSettings:
        """Return the usual settings of an architecture, with some fields changed."""
        usual = {
            "source": str(self.of(architecture)),
            "steps": architecture.steps,
            "guidance": architecture.guidance,
            "batch_size": architecture.batch,
            "width": architecture.side,
            "height": architecture.side,
            "dtype": "bf16",
        }
        return TextToImageSettings.model_validate({**usual, **changes})

    def _save(self, place: Path, make: Any) -> None:
        import torch

        before = torch.get_default_dtype()
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(self.device):
                model = make()
        finally:
            torch.set_default_dtype(before)
        model.save_pretrained(place)
        (place / "training.json").write_text(json.dumps(_TRAINING), encoding="utf-8")


def _weights_of(architecture: Architecture) -> str:
    """Return the folder name of the weights. SDXL and SDXL-Turbo differ only in the native size and share it."""
    return "sdxl" if architecture.family == "sdxl" else architecture.name.replace(" ", "-")


def _tokenizer(words: Path) -> Any:
    from bench.tiny_pipeline import make_tokenizer

    number = len(list(words.parent.glob(f"{words.name}*")))
    tokenizer = make_tokenizer(words.with_name(f"{words.name}-{number}"))
    tokenizer.model_max_length = 77
    return tokenizer
