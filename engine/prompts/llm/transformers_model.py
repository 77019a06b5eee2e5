"""Language models and vision-language models of transformers, in this process."""

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
from engine.prompts.llm.backend_settings import TransformersSpec, VisionSpec
from engine.prompts.llm.language_model import OnResponses
from engine.prompts.llm.question_planner import Question
from engine.prompts.llm.response_parser import Response

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class _SeededSampler(LogitsProcessor):
    """A sampler that keeps one token per row, drawn by the row's own generator by inverse transform sampling."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        uniforms = torch.stack([torch.rand(1, generator=g, dtype=torch.float64) for g in self._generators])
        cumulative = scores.double().softmax(-1).cumsum(-1)
        # Scaled by the actual total, so that rounding can never select a token past the last one.
        chosen = (cumulative <= uniforms.to(scores.device) * cumulative[:, -1:]).sum(-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)


class _TransformersModel:
    """The common part of text models and vision models. processor_class: of the tokenizer or the processor."""

    def __init__(self, spec: TransformersSpec, model_class: Any, processor_class: Any) -> None:
        self._spec = spec
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._processor = _load(spec, processor_class)
        self._tokenizer = getattr(self._processor, "tokenizer", self._processor)
        self._tokenizer.padding_side = "left"  # because new tokens follow on the right
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        dtype = _DTYPES[auto_dtype(device) if spec.dtype == "auto" else spec.dtype]
        options = {"dtype": dtype, "use_safetensors": True}
        if spec.quantize is None:
            self._model = _load(spec, model_class, **options).to(device).eval()
        else:
            options |= {"quantization_config": _four_bit_config(dtype), "device_map": device}
            self._model = _load(spec, model_class, **options).eval()
        eos = self._model.generation_config.eos_token_id
        self._eos_tokens = {eos} if isinstance(eos, int) else set(eos or ())

    def answer(self, questions: Sequence[Question], on_responses: OnResponses) -> None:
        """Answer all questions in batches; see `LanguageModel`."""
        for start in range(0, len(questions), self._spec.batch_size):
            batch = questions[start : start + self._spec.batch_size]
            on_responses(list(zip(batch, self._generate(batch), strict=True)))

    def _encode(self, batch: Sequence[Question]) -> Any:
        raise NotImplementedError

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Question]) -> list[Response]:
        spec = self._spec
        inputs = self._encode(batch).to(self._model.device)
        try:
            tokens = self._model.generate(
                **inputs,
                do_sample=False,  # _SeededSampler samples
                max_new_tokens=spec.max_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
                logits_processor=_make_processors(spec, [question.seed for question in batch]),
            )
        except torch.cuda.OutOfMemoryError:
            raise ModelError(
                f"model.batch_size: {spec.batch_size} requests of {spec.name} do not fit into the GPU together; lower "
                "it, or set model.quantize to 4bit"
            ) from None
        new_tokens = tokens[:, inputs["input_ids"].shape[1] :].cpu()
        texts = self._tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
        ended = [bool(self._eos_tokens.intersection(row)) for row in new_tokens.tolist()]
        return [Response(text, truncated=not end) for text, end in zip(texts, ended, strict=True)]


class TextModel(_TransformersModel):
    """A causal language model."""

    def __init__(self, spec: TransformersSpec) -> None:
        super().__init__(spec, transformers.AutoModelForCausalLM, transformers.AutoTokenizer)

    def _encode(self, batch: Sequence[Question]) -> Any:
        instructions = [question.topic.instruction for question in batch]
        if self._tokenizer.chat_template is None:
            return self._tokenizer(instructions, padding=True, return_tensors="pt")
        chats = [[{"role": "user", "content": text}] for text in instructions]
        return self._processor.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )


class VisionModel(_TransformersModel):
    """A vision-language model with a chat template."""

    def __init__(self, spec: VisionSpec) -> None:
        super().__init__(spec, transformers.AutoModelForImageTextToText, transformers.AutoProcessor)
        if getattr(self._processor, "chat_template", None) is None:
            raise ModelError(
                f"model.name: {spec.name} has no chat template, so it cannot take an instruction; use a "
                "vision-language model for chats, like Qwen/Qwen3-VL-2B-Instruct"
            )

    def _encode(self, batch: Sequence[Question]) -> Any:
        return self._processor.apply_chat_template(
            [_make_chat(question) for question in batch],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            processor_kwargs={"padding": True, "return_tensors": "pt"},
        ).to(self._model.dtype)


def _make_chat(question: Question) -> list[dict[str, Any]]:
    assert question.topic.load_image is not None
    image = {"type": "image", "image": Image.fromarray(question.topic.load_image())}
    return [{"role": "user", "content": [image, {"type": "text", "text": question.topic.instruction}]}]


def _make_processors(spec: TransformersSpec, seeds: Sequence[int]) -> LogitsProcessorList:
    if spec.temperature == 0:
        return LogitsProcessorList()
    nucleus = [TopPLogitsWarper(spec.top_p)] if spec.top_p < 1 else []
    return LogitsProcessorList([TemperatureLogitsWarper(spec.temperature), *nucleus, _SeededSampler(seeds)])


def _load(spec: TransformersSpec, class_: Any, **options: Any) -> Any:
    try:
        return class_.from_pretrained(spec.name, revision=spec.revision or "main", trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ModelError(
            f"model.name: {spec.name} cannot be loaded: {reason}; use a hub id that this account may read, or a folder"
        ) from None


def _four_bit_config(dtype: torch.dtype) -> Any:
    if find_spec("bitsandbytes") is None:
        raise ModelError("model.quantize: 4bit needs bitsandbytes; pip install bitsandbytes, or leave quantize out")
    return transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
