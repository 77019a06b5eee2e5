"""What the tests of banks share: specs as from a file."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine.prompts.llm.bank_spec import PromptBankSpec

MakeSpec = Callable[..., PromptBankSpec]


@pytest.fixture
def make_spec() -> MakeSpec:
    """A spec of prompts for three classes, with `model` and what else is given."""

    def make(model: dict[str, Any], **more: Any) -> PromptBankSpec:
        content = {
            "name": "test",
            "seed": 5,
            "classes": ["cat", "sea_lion", "dog"],
            "per_class": 25,
            "per_request": 4,
            "instruction": "Write {count} prompts about {class}",
            "model": model,
        }
        return PromptBankSpec.model_validate_json(json.dumps(content | more))

    return make
