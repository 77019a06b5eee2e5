"""A CLIP tokenizer with its own small vocabulary, and an untrained CLIP text encoder."""

from collections.abc import Sequence
from itertools import pairwise

from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.training.generator.generator_spec import TextSpec
from engine.training.random_streams import seeded_init

UNKNOWN, PAD, START, END = "<unk>", "<pad>", "<start>", "<end>"
_SINGLES = "abcdefghijklmnopqrstuvwxyz0123456789,.-"
_STOP = "</w>"


def make_tokenizer(words: Sequence[str], tokens: int) -> CLIPTokenizer:
    """Return a byte-pair tokenizer in which each of `words` is one token.

    Other words of latin letters are split into known pieces. Every other character becomes the unknown token.
    A merge that is added later ranks lower, so it never splits a word that was added before it.
    """
    vocab = [UNKNOWN, PAD, START, END, *_SINGLES, *(single + _STOP for single in _SINGLES)]
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = _split(word, ranks)
        while len(pieces) > 1:
            ranks[(pieces[0], pieces[1])] = len(ranks)  # A later merge ranks lower, so it splits no earlier word.
            pieces = _split(word, ranks)
    vocab += dict.fromkeys(left + right for left, right in ranks)
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocab)},
        merges=list(ranks),  # type: ignore[arg-type]  # annotated as strings, documented as pairs
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        model_max_length=tokens,
    )


def _split(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Encode one word by byte pairs: apply the merge of the lowest rank first, until none applies."""
    pieces = [*word[:-1], word[-1] + _STOP]
    while True:
        pairs = [(ranks[pair], at) for at, pair in enumerate(pairwise(pieces)) if pair in ranks]
        if not pairs:
            return pieces
        _, at = min(pairs)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


def make_text_encoder(tokenizer: CLIPTokenizer, spec: TextSpec, seed: int) -> CLIPTextModel:
    """Return an untrained encoder, to whose output (B, tokens, width) the denoiser attends."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.width,
        intermediate_size=spec.width * 2,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        max_position_embeddings=spec.tokens,
        projection_dim=spec.width,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with seeded_init(seed, "text"):
        return CLIPTextModel(config)
