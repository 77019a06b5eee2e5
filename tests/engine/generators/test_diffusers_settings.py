"""Settings of diffusers pipelines: combinations that are refused, and pinned parts."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.generators.kinds.text_to_image import TextToImageSettings
from tests.engine.generators.tiny_generators import settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"optimizations": {"compile": "default"}, "offload": "model"},
            r"optimizations.compile needs .* offload: none",
        ),
        ({"optimizations": {"fp8": True}, "offload": "layers"}, r"optimizations.fp8 needs .* offload: none"),
        ({"optimizations": {"fp8": True}, "adapters": [{"source": "a/b"}]}, "optimizations.fp8 cannot take adapters"),
        ({"optimizations": {"fp8": True}, "dtype": "fp16"}, "say dtype: bf16, not fp16"),
        ({"optimizations": {"compile": "max-autotune"}}, "kernels by timing them.*nondeterministic: true"),
        ({"optimizations": {"decode_batch": 0}}, "greater than or equal to 1"),
        ({"vae_revision": "main"}, "vae_revision is the revision of an autoencoder: give vae"),
    ],
)
def test_impossible_combinations_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TextToImageSettings.model_validate_json(json.dumps({"source": "m", **changes}))


def test_autoencoder_is_pinned() -> None:
    model = settings(Path("m"), vae="someone/taesd", vae_revision="main")
    assert [(part.place, part.source, part.revision) for part in model.parts][1:] == [
        ("model.vae", "someone/taesd", "main")
    ]
    assert model.with_revisions({"model.vae": f"main@{'a' * 40}"}).parts[1].commit == "a" * 40
