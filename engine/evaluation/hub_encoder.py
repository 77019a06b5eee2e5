"""Encoders of the model hub, or in folders: CLIP and its kin, which know texts too, and DINOv2 and its kin."""

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
from engine.models.hub import resolve
from shards.codec import Pixels

_PLACE = "--encoder"


class HubEncoder:
    """A model of transformers; its weights are safetensors, and no code of a repository is run. See Encoder.

    name:    a hub id, or a folder. The hub's is taken from the network, or from the cache as it was last.
    prompts: a text for each class, in label order, which a model with a text encoder scores images by.
    """

    batch = 64

    def __init__(self, name: str, prompts: Sequence[str]) -> None:
        self.name = name
        self.revision = "" if Path(name).is_dir() else resolve(ModelPart(_PLACE, name, None, "config.json"))
        options = {"revision": self.revision} if self.revision else {}
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        with _explained(name):
            loaded = transformers.AutoModel.from_pretrained(
                name, use_safetensors=True, dtype=torch.float32, trust_remote_code=False, **options
            )
            self._model = loaded.eval().to(self._device)
            self._processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False, **options)
            self._texts = self._read(prompts, options) if hasattr(loaded, "get_text_features") else None
        about = "" if self._texts is None else (
            "; margin: cosine of an image with the text of its class less the best other one's, "
            f"the texts being like {prompts[0]!r}"
        )  # fmt: skip
        self.told = f"{type(loaded).__name__} {name}{about}"

    @torch.inference_mode()
    def see(self, images: Pixels) -> EncodedImages:
        """See Encoder."""
        given = self._processor(list(torch.from_numpy(images).permute(0, 3, 1, 2)), return_tensors="pt")
        pixels = given["pixel_values"].to(self._device)
        found = self._model(pixel_values=pixels) if self._texts is None else self._model.get_image_features(pixels)
        features = _pooled(found)
        scores = None if self._texts is None else (_unit(features) @ self._texts.T).cpu().numpy()
        return EncodedImages(scaled(features.double().cpu().numpy()), scores)

    @torch.inference_mode()
    def _read(self, prompts: Sequence[str], options: Any) -> Tensor:
        """The direction of each text, (classes, dimensions)."""
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.name, trust_remote_code=False, **options)
        # Some models were trained with every text padded to the longest that they take, and CLIP ignores padding.
        longest = self._model.config.text_config.max_position_embeddings
        told = tokenizer(list(prompts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
        return _unit(_pooled(self._model.get_text_features(**told.to(self._device))))


def _pooled(found: Any) -> Tensor:
    """One vector an image or text, in any version of transformers."""
    pooled: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return pooled


def _unit(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.double())


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ModelError(
            f"{_PLACE}: {name} cannot be loaded: {reason}; give a hub id or a folder of a CLIP or DINOv2 model with "
            "safetensors, or `offline`"
        ) from None
