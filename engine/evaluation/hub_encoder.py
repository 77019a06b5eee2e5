"""Encoders from the model hub or a folder: CLIP and similar models, which also encode texts, and DINOv2 and similar."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from engine.config.model_settings import ModelPart
from engine.errors import ModelError
from engine.evaluation.encoders import EncodedImages, scaled
from engine.models.hub import resolve_commit
from shards.codec import Pixels

_OPTION = "--encoder"


class HubEncoder:
    """A model of transformers; see Encoder. Weights must be safetensors, and code of the repository is never run.

    name:    a hub id, whose newest revision is used (offline: the newest in the cache), or a folder.
    prompts: a text for each class, in label order; a model with a text encoder scores images by them.
    """

    batch = 64

    def __init__(self, name: str, prompts: Sequence[str]) -> None:
        self.name = name
        self.revision = "" if Path(name).is_dir() else resolve_commit(ModelPart(_OPTION, name, None, "config.json"))
        options = {"revision": self.revision} if self.revision else {}
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        with _explained(name):
            model = transformers.AutoModel.from_pretrained(
                name, use_safetensors=True, dtype=torch.float32, trust_remote_code=False, **options
            )
            self._model = model.eval().to(self._device)
            self._processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False, **options)
            self._texts = self._encode_texts(prompts, options) if hasattr(model, "get_text_features") else None
        self.description = f"{type(model).__name__} {name}"
        if self._texts is not None:
            self.description += (
                "; margin: cosine of an image with the text of its class less the best other one's, "
                f"with texts like {prompts[0]!r}"
            )

    @torch.inference_mode()
    def encode(self, images: Pixels) -> EncodedImages:
        """Encode images; see Encoder."""
        inputs = self._processor(list(torch.from_numpy(images).permute(0, 3, 1, 2)), return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._device)
        output = self._model(pixel_values=pixels) if self._texts is None else self._model.get_image_features(pixels)
        features = _pooled(output)
        scores = None if self._texts is None else (_normalized(features) @ self._texts.T).cpu().numpy()
        return EncodedImages(scaled(features.double().cpu().numpy()), scores)

    @torch.inference_mode()
    def _encode_texts(self, prompts: Sequence[str], options: Any) -> Tensor:
        """Return the direction of each text, (classes, dimensions)."""
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.name, trust_remote_code=False, **options)
        # SigLIP was trained with every text padded to the maximum length; CLIP ignores padding.
        longest = self._model.config.text_config.max_position_embeddings
        tokens = tokenizer(
            list(prompts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
        )
        return _normalized(_pooled(self._model.get_text_features(**tokens.to(self._device))))


def _pooled(output: Any) -> Tensor:
    """Return one vector per image or text, from any version of transformers."""
    pooled: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return pooled


def _normalized(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.double())


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ModelError(
            f"{_OPTION}: {name} cannot be loaded: {reason}; give a hub id or a folder of a CLIP or DINOv2 model with "
            "safetensors, or `offline`"
        ) from None
