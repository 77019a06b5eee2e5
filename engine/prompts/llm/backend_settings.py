"""Settings of the language models that write banks: transformers in this process, Ollama, or OpenAI's protocol."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from engine.config.strict import Count, Strict

_CONNECTION_FIELDS = {"url", "api_key_env", "parallel", "requests_per_minute", "timeout_s", "attempts", "backoff_s"}
"""Settings of the connection to a server, which do not affect its responses."""


class _Sampling(Strict):
    max_tokens: Count = 1024
    """Tokens of one response. A longer response is cut after its last whole line or sentence."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """0 always takes the most likely token, so every request for a class gets the same response."""

    def identity(self) -> dict[str, Any]:
        """Return the settings that affect the responses."""
        return self.model_dump(mode="json", exclude=_CONNECTION_FIELDS)


class TransformersSpec(_Sampling):
    """A causal language model, on a GPU if there is one. A tokenizer without template gets the plain instruction."""

    backend: Literal["transformers"]
    name: str = "google/gemma-2b-it"
    """Hub id or folder."""
    revision: str | None = None
    """Commit, tag or branch of the hub id; the newest by default."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the most likely tokens that together have this probability."""
    batch_size: Count = 8
    """Requests per batch. It may change the responses, because sums are computed in another order."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 if the device computes in it, else fp16 on a GPU and fp32 on a CPU."""
    quantize: Literal["4bit"] | None = None
    """4bit: NF4 weights by bitsandbytes, a quarter of the memory."""

    @property
    def title(self) -> str:
        """The model as a bank records it."""
        return f"{self.name}@{self.revision}" if self.revision else self.name


class VisionSpec(TransformersSpec):
    """An AutoModelForImageTextToText of transformers with a chat template, like Qwen-VL, LLaVA, SmolVLM and Gemma 3."""

    name: str = "Qwen/Qwen3-VL-2B-Instruct"
    max_tokens: Count = 128


class _ServerSpec(_Sampling):
    name: str = Field(min_length=1)
    """Name of the model on the server."""
    url: str
    """Base address, http or https, without user and password."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key. A spec never contains the key."""
    parallel: Annotated[int, Field(ge=1, le=1024)] = 4
    """Number of concurrent requests."""
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Maximum rate, including repeated attempts; unlimited by default."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds until a response must be complete."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    """Attempts at a request before the job fails. 429, 5xx, a broken response and no response are retried."""
    backoff_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Seconds before the second attempt, doubled for each later one. A server's Retry-After takes precedence."""

    @property
    def title(self) -> str:
        """The model as a bank records it."""
        return self.name

    # The errors of the next two do not repeat the value, which may contain a secret by mistake.
    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", url):
            raise ValueError("must be like http://host:8000/v1; set api_key_env to the variable that holds a key")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _check_variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
            raise ValueError("must be the name of an environment variable, like OPENAI_API_KEY, never the key itself")
        return name


class OllamaSpec(_ServerSpec):
    """An Ollama server, through its /api/chat."""

    backend: Literal["ollama"]
    url: str = "http://localhost:11434"


class OpenAISpec(_ServerSpec):
    """OpenAI, vLLM, llama.cpp, or any other server that answers at URL/chat/completions."""

    backend: Literal["openai"]
    url: str = "http://localhost:8000/v1"


ServerSpec = OllamaSpec | OpenAISpec
ModelSpec = Annotated[TransformersSpec | OllamaSpec | OpenAISpec, Field(discriminator="backend")]
VisionModelSpec = Annotated[VisionSpec | OllamaSpec | OpenAISpec, Field(discriminator="backend")]
