"""Fixtures of the tests of prompt banks."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.prompts.llm.bank_spec import PromptBankSpec

MakeSpec = Callable[..., PromptBankSpec]


def silent(line: str) -> None:
    """Drop a log line."""


@pytest.fixture
def make_spec() -> MakeSpec:
    """Return a function that makes a spec of prompts for three classes, with a model and other changes."""

    def make(model: dict[str, Any], **changes: Any) -> PromptBankSpec:
        content = {
            "name": "test",
            "seed": 5,
            "classes": ["cat", "sea_lion", "dog"],
            "per_class": 25,
            "per_request": 4,
            "instruction": "Write {count} prompts about {class}",
            "model": model,
        }
        return PromptBankSpec.model_validate_json(json.dumps(content | changes))

    return make
