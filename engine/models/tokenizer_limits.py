"""The length limit of each text encoder of a pipeline, read from its tokenizer files alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.config.model_settings import ModelPart, ModelSettings
from engine.errors import ModelError
from engine.models.model_folder import local_folder

_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_NO_LIMIT = 100_000  # a tokenizer without a limit reports an astronomic number


@dataclass(frozen=True, slots=True)
class TextLimit:
    """The longest text that a text encoder reads, in tokens. count: returns the number of tokens of a text."""

    name: str
    tokens: int
    count: Callable[[str], int]


def text_limits(model: ModelSettings) -> list[TextLimit]:
    """Return the limit of each text encoder; only tokenizer files are fetched. Raises ModelError without them."""
    if not model.parts:  # the generator downloads nothing, and so has no tokenizer
        return []
    tokenizers = {name: _load_tokenizer(model.parts[0], name) for name in _TOKENIZERS}
    return [
        TextLimit(name, tokenizer.model_max_length, partial(_count_tokens, tokenizer))
        for name, tokenizer in tokenizers.items()
        if tokenizer is not None and tokenizer.model_max_length < _NO_LIMIT
    ]


def _load_tokenizer(part: ModelPart, name: str) -> Any:
    """Return a tokenizer of the pipeline; None if it has none of this name, which is usual for all but the first."""
    from transformers import AutoTokenizer

    folder = local_folder(part)
    if folder is not None and not (folder / name).is_dir():
        return None
    subfolder = {"subfolder": name} if folder is None else {}
    source, revision = part.source if folder is None else str(folder / name), part.commit or part.revision
    try:
        return AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False, **subfolder)
    except (OSError, ValueError) as error:
        if name != _TOKENIZERS[0]:
            return None
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{part.place}: no tokenizer of {part.source!r} can be loaded: {reason}") from None


def _count_tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, verbose=False).input_ids)
