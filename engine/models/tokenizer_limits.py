"""The tokenizers of a pipeline, without the pipeline: how long a prompt is for its text encoders."""

from functools import partial
from pathlib import Path
from typing import Any

from engine.config.model_settings import ModelSettings
from engine.errors import ModelError
from engine.models.resolve import local_folder
from engine.prompts.prompt_lint import Limit

_NO_LIMIT = 100_000
"""A tokenizer that knows of no limit gives an astronomic number."""


def text_limits(model: ModelSettings) -> list[Limit]:
    """What each text encoder reads; only tokenizer files are fetched. Raises ModelError where they cannot be had."""
    from transformers import AutoTokenizer

    part = model.parts[0]
    folder = local_folder(part)
    found = []
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        if folder is not None and not (Path(folder) / name).is_dir():
            continue
        try:
            place = {"subfolder": name} if folder is None else {}
            source = part.source if folder is None else str(folder / name)
            tokenizer = AutoTokenizer.from_pretrained(
                source, revision=part.commit or part.revision, trust_remote_code=False, **place
            )
        except (OSError, ValueError) as error:
            if name != "tokenizer":  # most pipelines have one
                continue
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{part.place}: no tokenizer of {part.source!r} can be loaded: {reason}") from None
        if tokenizer.model_max_length < _NO_LIMIT:
            found.append(Limit(name, tokenizer.model_max_length, partial(_tokens, tokenizer)))
    return found


def _tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, verbose=False).input_ids)
