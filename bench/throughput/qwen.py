"""A text encoder of Qwen3's architecture, and a tokenizer of letters."""

from collections.abc import Mapping
from typing import Any

_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_encoder(config: Mapping[str, Any]) -> Any:
    """Make a text encoder with random weights."""
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(Qwen3Config(**config, max_position_embeddings=512))


def make_tokenizer() -> Any:
    """Make a tokenizer in which each letter is a token."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    words = {word: number for number, word in enumerate([*_SPECIAL, *sorted(ByteLevel.alphabet())])}
    tokenizer = Qwen2Tokenizer(words, [], additional_special_tokens=list(_SPECIAL[1:]))
    tokenizer.chat_template = _CHAT
    return tokenizer
