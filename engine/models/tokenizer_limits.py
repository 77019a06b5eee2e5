"""How long a prompt may be for each text encoder of a pipeline, from its tokenizers alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.config.model_settings import ModelSettings
from engine.errors import ModelError
from engine.models.resolve import local_folder


@dataclass(frozen=True, slots=True)
class TextLimit:
    """The longest text that a text encoder reads.

    name:   of the text encoder.
    tokens: number of tokens.
    count:  returns the number of tokens of a text.
    """

    name: str
    tokens: int
    count: Callable[[str], int]


_NO_LIMIT = 100_000
"""A tokenizer without a limit reports an astronomic number."""


def text_limits(model: ModelSettings) -> list[TextLimit]:
    """Return the limit of each text encoder; only tokenizer files are fetched. Raises ModelError without them."""
    from transformers import AutoTokenizer

    part = model.parts[0]
    folder = local_folder(part)
    limits = []
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
            limits.append(TextLimit(name, tokenizer.model_max_length, partial(_tokens, tokenizer)))
    return limits


def _tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, verbose=False).input_ids)
