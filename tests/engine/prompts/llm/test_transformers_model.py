"""Tests of models of transformers: real classes and real files, small enough for a test."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer

from engine.errors import ModelError
from engine.prompts.llm.backend_settings import TransformersSpec, VisionSpec
from engine.prompts.llm.bank_jobs import write_captions, write_prompts
from engine.prompts.llm.bank_spec import CaptionBankSpec, PromptBankSpec
from engine.prompts.llm.bank_writer import response_cache_path
from engine.prompts.llm.language_model import AnsweredQuestion
from engine.prompts.llm.question_planner import Question, Topic
from engine.prompts.llm.response_parser import Response
from engine.prompts.llm.transformers_model import TextModel, VisionModel, _SeededSampler
from shards.codec import encode_rgb
from tests.engine.prompts.llm.conftest import silent
from tests.engine.prompts.llm.tiny_models import CLASSES, COLOURS, make_language_model, make_vision_model, paint


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, which is faster for such small models."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_language_model(tmp_path_factory.mktemp("text_model"))


@pytest.fixture(scope="module")
def vision_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vision_model(tmp_path_factory.mktemp("vision_model"))


def prompt_spec(text_model: Path, **changes: Any) -> PromptBankSpec:
    model = {"backend": "transformers", "name": str(text_model), "max_tokens": 24, "dtype": "fp32", "batch_size": 4}
    content = {"name": "t", "classes": CLASSES, "per_class": 8, "per_request": 3, "instruction": "list {class}"}
    return PromptBankSpec.model_validate_json(json.dumps({**content, "patience": 20, "model": model, **changes}))


class Killed(Exception):
    """The simulated end of the process."""


def test_a_language_model_writes_a_bank(text_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "bank.parquet"
    bank = write_prompts(prompt_spec(text_model), out, silent)
    rows = pq.read_table(out).to_pylist()
    assert (bank.rows, bank.missing) == (24, 0)
    for name in CLASSES:
        texts = [row["prompt"] for row in rows if row["class_name"] == name]
        assert len(set(texts)) == 8
        assert all(f" {name} " in f" {text} " for text in texts)
    assert {row["model"] for row in rows} == {str(text_model)}


def test_an_interrupted_job_writes_the_same_bank(
    text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "bank.parquet"
    write_prompts(prompt_spec(text_model), whole, silent)
    generate, calls = TextModel._generate, 0

    def fail_at_third_batch(self: TextModel, batch: list[Question]) -> list[Response]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        return generate(self, batch)

    monkeypatch.setattr(TextModel, "_generate", fail_at_third_batch)
    with pytest.raises(Killed):
        write_prompts(prompt_spec(text_model), out, silent)
    assert len(response_cache_path(out).read_text().splitlines()) == 3
    write_prompts(prompt_spec(text_model), out, silent)
    assert out.read_bytes() == whole.read_bytes()
    assert response_cache_path(out).read_bytes() == response_cache_path(whole).read_bytes()


def ask(model: TextModel | VisionModel, questions: list[Question]) -> dict[Question, Response]:
    answered: list[AnsweredQuestion] = []
    model.answer(questions, answered.extend)
    return dict(answered)


def test_a_response_depends_on_its_seed_and_not_its_batch(text_model: Path) -> None:
    topics = [Topic(name, name, (name,), f"list {name}", 1) for name in (*CLASSES, "cat cat cat")]
    questions = [Question(topic, number, 100 + number) for number in range(3) for topic in topics]
    responses = []
    for size in (1, 5):
        spec = TransformersSpec(
            backend="transformers", name=str(text_model), max_tokens=24, dtype="fp32", batch_size=size, top_p=0.98
        )
        responses.append(ask(TextModel(spec), questions))
    assert responses[0] == responses[1]
    assert len({responses[0][question].text for question in questions if question.topic.key == "cat"}) == 3


def test_samples_follow_the_distribution() -> None:
    shares = torch.tensor([0.5, 0.0, 0.3, 0.2])
    rows = 4000
    scores = _SeededSampler(range(rows))(torch.zeros(rows, 1), shares.log().expand(rows, 4))
    assert scores.isfinite().sum(-1).eq(1).all()
    counts = scores.isfinite().sum(0) / rows
    assert torch.allclose(counts, shares, atol=0.03)  # about four standard deviations
    assert counts[1] == 0


def test_a_response_at_the_token_limit_is_truncated(text_model: Path) -> None:
    topic = Topic("cat", "cat", ("cat",), "list cat", 1)
    spec = TransformersSpec(backend="transformers", name=str(text_model), max_tokens=7, dtype="fp32", temperature=0.0)
    (truncated,) = ask(TextModel(spec), [Question(topic, 0, 1)]).values()
    (whole,) = ask(TextModel(spec.model_copy(update={"max_tokens": 24})), [Question(topic, 0, 1)]).values()
    assert truncated.truncated
    assert not whole.truncated
    assert whole.text.startswith(truncated.text)


def test_without_a_chat_template_the_instruction_is_plain(text_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(text_model, tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    spec = TransformersSpec(backend="transformers", name=str(folder), max_tokens=24, dtype="fp32", temperature=0.0)
    topic = Topic("cat", "cat", ("cat",), "<s>list cat<ask>", 1)
    (plain,) = ask(TextModel(spec), [Question(topic, 0, 1)]).values()
    by_template = Topic("cat", "cat", ("cat",), "list cat", 1)
    spec = spec.model_copy(update={"name": str(text_model)})
    assert ask(TextModel(spec), [Question(by_template, 0, 1)])[Question(by_template, 0, 1)] == plain


def test_each_caption_describes_its_own_image(vision_model: Path, tmp_path: Path) -> None:
    painted = {}
    for label, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index, colour in enumerate(COLOURS):
            data = encode_rgb(paint(colour, 10 * label + index), "png")
            (tmp_path / "data" / name / f"{index}.png").write_bytes(data)
            painted[hashlib.sha256(data).hexdigest()] = f"a photo of a {name}: a {colour}"
    model = {"backend": "transformers", "name": str(vision_model), "max_tokens": 6, "dtype": "fp32", "temperature": 0.0}
    splits = {"world": 0.0, "train": 1.0, "validation": 0.0, "test": 0.0}
    content = {
        "name": "t",
        "data": {"source": "imagefolder", "path": str(tmp_path / "data"), "splits": splits},
        "instruction": "see {class}",
        "model": model | {"batch_size": 5},
    }
    spec = CaptionBankSpec.model_validate_json(json.dumps(content))
    write_captions(spec, tmp_path / "bank.parquet", silent)
    rows = pq.read_table(tmp_path / "bank.parquet").to_pylist()
    assert len(rows) == len(painted) == 12
    assert {row["source"]: row["prompt"] for row in rows} == painted


def test_a_vision_model_without_chat_template_is_refused(vision_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(vision_model, tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        VisionModel(VisionSpec(backend="transformers", name=str(folder)))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.name: .*nowhere cannot be loaded"):
        TextModel(TransformersSpec(backend="transformers", name=str(tmp_path / "nowhere")))
    with pytest.raises(ModelError, match=r"model\.name: no/such-model-here cannot be loaded"):
        TextModel(TransformersSpec(backend="transformers", name="no/such-model-here"))


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_4bit_needs_bitsandbytes(text_model: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.quantize: 4bit needs bitsandbytes; pip install"):
        TextModel(TransformersSpec(backend="transformers", name=str(text_model), quantize="4bit"))
