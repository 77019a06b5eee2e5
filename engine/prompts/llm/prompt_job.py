"""The job `prompts`: write a bank of prompts for each class by a language model."""

from collections.abc import Sequence
from pathlib import Path

from engine.data.open_source import open_source
from engine.prompts.llm.bank_spec import PromptBankSpec, check_words
from engine.prompts.llm.bank_writer import BankSummary, fill_bank
from engine.prompts.llm.language_model import Log
from engine.prompts.llm.question_planner import QuestionPlanner, Topic
from engine.prompts.llm.response_parser import ParsedLine, Response, parse_prompts
from engine.prompts.prompt_templates import fill_template


def write_prompts(spec: PromptBankSpec, out: Path, log: Log) -> BankSummary:
    """Write the bank, or resume. Raises the errors of `fill_bank`, SpecError, and DataError for unusable data."""
    topics = [_make_topic(spec, name) for name in _classes(spec)]
    planner = QuestionPlanner(topics, spec.seed, spec.per_request, spec.patience, _parse)
    return fill_bank(spec, planner, lambda _: 0, out, log)


def _classes(spec: PromptBankSpec) -> Sequence[str]:
    if spec.data is None:
        return spec.classes or ()
    classes = open_source(spec.data).classes
    check_words(spec, classes)
    return classes


def _make_topic(spec: PromptBankSpec, name: str) -> Topic:
    values = {"class": spec.class_text(name), "count": str(spec.per_request)}
    return Topic(name, name, spec.class_names(name), fill_template(spec.instruction, values), spec.per_class)


def _parse(topic: Topic, response: Response) -> list[ParsedLine]:
    return parse_prompts(response, topic.names)
