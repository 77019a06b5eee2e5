"""Small models trained for seconds: a language model that lists prompts, and a vision model that names colours."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from shards.codec import Pixels

CLASSES = ("cat", "dog", "fox")
_LOOKS = (" red", " big", " old", " wet", " shy", " fat")
_PLACES = (" snow", " grass", " sand", " rocks")
COLOURS = {"red": (220, 40, 40), "green": (40, 220, 40), "blue": (40, 40, 220), "white": (215, 215, 215)}
_WORDS = {"list", *(f" {name}" for name in CLASSES), "a", " on", "\n", "see", *_LOOKS, *_PLACES}
_WORDS |= {f" {colour}" for colour in COLOURS}
_TENSORS = {"return_tensors": "pt", "add_special_tokens": False}
_TEMPLATE = "<s>{{ messages[0]['content'] }}<ask>"


def make_language_model(folder: Path) -> Path:
    """Train a Llama that answers `list cat` with three lines like `a red cat on snow`, and save it in `folder`."""
    tokenizer = _tokenizer()
    tokenizer.chat_template = _TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(_llama(len(tokenizer)))
    draw = Random(0)
    _train(model, 150, lambda: tokenizer([_text_example(draw) for _ in range(32)], **_TENSORS))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_vision_model(folder: Path) -> Path:
    """Train a LLaVA for images of 16x16 that answers `see cat` with `a COLOUR`, and save it in `folder`."""
    tokenizer = _tokenizer("<image>")
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8,
    )  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=_llama(len(tokenizer)), image_token_index=image)
    )
    template = (
        "<s>{% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}"
        "{% endif %}{% endfor %}<ask>"
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    draw = Random(0)
    _train(model, 120, lambda: _vision_examples(processor, draw))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def paint(colour: str, seed: int) -> Pixels:
    """Return a noisy image of one colour, 16x16."""
    noise = np.random.default_rng(seed).integers(-40, 40, (16, 16, 3))
    return np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)


def _vision_examples(processor: LlavaProcessor, draw: Random) -> Any:
    examples = [(draw.choice(CLASSES), draw.choice(list(COLOURS)), draw.randrange(10**6)) for _ in range(24)]
    texts = [f"<s><image>see {name}<ask>a {colour}</s>" for name, colour, _ in examples]
    images = [[Image.fromarray(paint(colour, seed))] for _, colour, seed in examples]
    return processor(text=texts, images=images, **_TENSORS)


def _train(model: PreTrainedModel, steps: int, draw: Callable[[], Any]) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(steps):
        batch = draw()
        loss = model(**batch, labels=batch["input_ids"]).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _llama(words: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=words, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip


def _text_example(draw: Random) -> str:
    name = draw.choice(CLASSES)
    lines = [f"a{draw.choice(_LOOKS)} {name} on{draw.choice(_PLACES)}" for _ in range(3)]
    return f"<s>list {name}<ask>" + "\n".join(lines) + "</s>"


def _tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for every word, including the space before it."""
    marks = ["<s>", "</s>", "<pad>", "<unk>", "<ask>", *special]
    known = {word: index for index, word in enumerate([*marks, *sorted(_WORDS)])}
    words = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex("\n| ?[^ \n]+"), "isolated")
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens=["<ask>", *special],
    )  # fmt: skip
