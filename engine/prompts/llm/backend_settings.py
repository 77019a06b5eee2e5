"""What a spec says of the model that writes: transformers on this machine, an Ollama server, or any server that speaks
OpenAI's protocol."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from engine.config.strict import Count, Strict

_WORKINGS = frozenset({"url", "api_key_env", "parallel", "requests_per_minute", "timeout_s", "attempts", "backoff_s"})
"""How a server is spoken to; what it answers does not depend on it."""


class _Sampling(Strict):
    max_tokens: Count = 1024
    """Of one answer. What a longer one has after its last whole line or sentence is dropped."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """0 always takes the likeliest word, so that every request for a class has the same answer."""

    def identity(self) -> dict[str, Any]:
        """What decides the answers."""
        return self.model_dump(mode="json", exclude=set(_WORKINGS))


class TransformersSpec(_Sampling):
    """A causal language model, on the GPU if there is one, loaded from safetensors and without any code of its own.

    It is told through its chat template; a tokenizer without one gets the instruction as it is.
    """

    backend: Literal["transformers"]
    name: str = "google/gemma-2b-it"
    """Hub id or folder."""
    revision: str | None = None
    """Commit, tag or branch of the hub id; the newest if none."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the likeliest words that together have this probability."""
    batch_size: Count = 8
    """Requests answered at once. It may change the answers: other sums in another order."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the device computes in it, else fp16 on a GPU and fp32 on a CPU."""
    quantize: Literal["4bit"] | None = None
    """4bit: NF4 weights by bitsandbytes, a quarter of the memory."""

    @property
    def title(self) -> str:
        """The model as a bank records it."""
        return f"{self.name}@{self.revision}" if self.revision else self.name


class VisionSpec(TransformersSpec):
    """A vision-language model that transformers loads as AutoModelForImageTextToText and whose processor has a chat
    template, as Qwen-VL, LLaVA, SmolVLM, InternVL and Gemma 3 have. (BLIP and GIT have none and do not work.)"""

    name: str = "Qwen/Qwen3-VL-2B-Instruct"
    max_tokens: Count = 128


class _ServerSpec(_Sampling):
    name: str = Field(min_length=1)
    """The model, as the server calls it."""
    url: str
    """Base address, http or https, without user and password."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; the key itself never stands in a spec."""
    parallel: Annotated[int, Field(ge=1, le=1024)] = 4
    """Requests under way at once."""
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    """At most, attempts counted; as fast as the server answers if none."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds until an answer must be there as a whole."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    """How often a request is sent before the job gives up: again after 429, 5xx, a broken answer or none."""
    backoff_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Seconds before the second attempt, give or take a random half; doubled each time, a minute at most. A server's
    Retry-After is heeded instead."""

    @property
    def title(self) -> str:
        """The model as a bank records it."""
        return self.name

    # These two may hold a secret, by mistake, so that their errors do not repeat them.
    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", url):
            raise ValueError("must be like http://host:8000/v1; a key goes into the variable that api_key_env names")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _name_of_a_variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
            raise ValueError("must be the name of an environment variable, like OPENAI_API_KEY, never the key itself")
        return name


class OllamaSpec(_ServerSpec):
    """An Ollama server, by its /api/chat."""

    backend: Literal["ollama"]
    url: str = "http://localhost:11434"


class OpenAISpec(_ServerSpec):
    """OpenAI, vLLM, llama.cpp, or what else answers at URL/chat/completions."""

    backend: Literal["openai"]
    url: str = "http://localhost:8000/v1"


ServerSpec = OllamaSpec | OpenAISpec
ModelSpec = Annotated[TransformersSpec | OllamaSpec | OpenAISpec, Field(discriminator="backend")]
VisionModelSpec = Annotated[VisionSpec | OllamaSpec | OpenAISpec, Field(discriminator="backend")]
