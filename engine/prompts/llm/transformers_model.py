"""Models of transformers, in this process.

Every request draws its words from its own seed, so that what it says depends on the others of its batch no more than
rounding does; and a job that goes on makes the same batches.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from engine.errors import ModelError
from engine.models.devices import auto_dtype
from engine.prompts.llm.response_parser import Response
from engine.prompts.llm.backend_settings import TransformersSpec, VisionSpec
from engine.prompts.llm.language_model import OnResponses
from engine.prompts.llm.question_planner import Question

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class _OwnDraws(LogitsProcessor):
    """Leaves each row the one word that its own generator draws, by inverting the cumulative distribution."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        draws = torch.stack([torch.rand(1, generator=one, dtype=torch.float64) for one in self._generators])
        reached = scores.double().softmax(-1).cumsum(-1)
        # Measured in the sum's own end, so that rounding can never lead past the last word.
        chosen = (reached <= draws.to(scores.device) * reached[:, -1:]).sum(-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)


class _Local:
    """What models with and without eyes share. `coder`: the tokenizer or the processor."""

    def __init__(self, spec: TransformersSpec, kind: Any, coder: Any) -> None:
        self._spec = spec
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._coder = _load(spec, coder)
        self._tokenizer = getattr(self._coder, "tokenizer", self._coder)
        self._tokenizer.padding_side = "left"  # what is written goes on at the right
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        options = {"dtype": _dtype(spec, device), "use_safetensors": True}
        if spec.quantize is None:
            self._model = _load(spec, kind, **options).to(device).eval()
        else:
            self._model = _load(spec, kind, quantization_config=_four_bits(spec), device_map=device, **options).eval()
        ends = self._model.generation_config.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends or ())

    def answer(self, questions: Sequence[Question], done: OnResponses) -> None:
        """As Model.answer; a batch's answers come together."""
        for start in range(0, len(questions), self._spec.batch_size):
            batch = questions[start : start + self._spec.batch_size]
            done(list(zip(batch, self._generate(batch), strict=True)))

    def _encode(self, batch: Sequence[Question]) -> Any:
        raise NotImplementedError

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Question]) -> list[Response]:
        spec = self._spec
        inputs = self._encode(batch).to(self._model.device)
        try:
            found = self._model.generate(
                **inputs,
                do_sample=False,  # the draws are ours
                max_new_tokens=spec.max_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                logits_processor=_processors(spec, [question.seed for question in batch]),
            )
        except torch.cuda.OutOfMemoryError:
            raise ModelError(
                f"model.batch_size: {spec.batch_size} requests of {spec.name} at once do not fit into the GPU; lower "
                "it, or set model.quantize to 4bit"
            ) from None
        written = found[:, inputs["input_ids"].shape[1] :].cpu()
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        ended = [bool(self._ends.intersection(row)) for row in written.tolist()]
        return [Response(text, cut=not end) for text, end in zip(texts, ended, strict=True)]


class TextModel(_Local):
    """A causal language model."""

    def __init__(self, spec: TransformersSpec) -> None:
        super().__init__(spec, transformers.AutoModelForCausalLM, transformers.AutoTokenizer)

    def _encode(self, batch: Sequence[Question]) -> Any:
        told = [question.topic.instruction for question in batch]
        if self._tokenizer.chat_template is None:
            return self._tokenizer(told, padding=True, return_tensors="pt")
        chats = [[{"role": "user", "content": text}] for text in told]
        return self._coder.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )


class VisionModel(_Local):
    """A vision-language model with a chat template."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__(spec, transformers.AutoModelForImageTextToText, transformers.AutoProcessor)
        if getattr(self._coder, "chat_template", None) is None:
            raise ModelError(
                f"model.name: {spec.name} has no chat template, so it cannot be told what to describe; give a "
                "vision-language model for chats, like Qwen/Qwen3-VL-2B-Instruct"
            )

    def _encode(self, batch: Sequence[Question]) -> Any:
        return self._coder.apply_chat_template(
            [_chat(question) for question in batch],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
        ).to(self._model.dtype)


def _chat(question: Question) -> list[dict[str, Any]]:
    assert question.topic.show is not None
    image = {"type": "image", "image": Image.fromarray(question.topic.show())}
    return [{"role": "user", "content": [image, {"type": "text", "text": question.topic.instruction}]}]


def _processors(spec: TransformersSpec, seeds: Sequence[int]) -> LogitsProcessorList:
    if spec.temperature == 0:
        return LogitsProcessorList()
    nucleus = [TopPLogitsWarper(spec.top_p)] if spec.top_p < 1 else []
    return LogitsProcessorList([TemperatureLogitsWarper(spec.temperature), *nucleus, _OwnDraws(seeds)])


def _load(spec: TransformersSpec, kind: Any, **options: Any) -> Any:
    try:
        return kind.from_pretrained(spec.name, revision=spec.revision or "main", trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ModelError(
            f"model.name: {spec.name} cannot be loaded: {reason}; give a hub id that this account may read, or a folder"
        ) from None


def _four_bits(spec: TransformersSpec) -> Any:
    if find_spec("bitsandbytes") is None:
        raise ModelError("model.quantize: 4bit needs bitsandbytes; pip install bitsandbytes, or leave quantize out")
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=_dtype(spec, "cuda")
    )


def _dtype(spec: TransformersSpec, device: str) -> torch.dtype:
    return _DTYPES[auto_dtype(device) if spec.dtype == "auto" else spec.dtype]
