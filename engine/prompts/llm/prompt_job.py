"""The job `prompts`: a bank of prompts for each class, by a language model."""

from collections.abc import Sequence
from pathlib import Path

from engine.errors import SpecError
from engine.prompts.llm.response_parser import ParsedLine, Response, read_prompts
from engine.prompts.llm.bank_spec import PromptBankSpec, fill
from engine.prompts.llm.bank_writer import BankSummary, fill_bank
from engine.prompts.llm.language_model import Log
from engine.prompts.llm.question_planner import QuestionPlanner, Topic


def write_prompts(spec: PromptBankSpec, out: Path, log: Log) -> BankSummary:
    """Write the bank, or go on with it. Raises what `fill_bank` raises, SpecError, and DataError for unusable data."""
    topics = [_topic(spec, name) for name in _classes(spec)]
    interview = QuestionPlanner(topics, spec.seed, spec.per_request, spec.patience, _read)
    return fill_bank(spec, interview, lambda _: 0, out, log)


def _classes(spec: PromptBankSpec) -> Sequence[str]:
    if spec.data is None:
        return spec.classes or ()
    from engine.data.open_source import open_source

    classes = open_source(spec.data).classes
    if unknown := spec.words.keys() - set(classes):
        raise SpecError(f"words names {sorted(unknown)[0]!r}, which is no class of the data: {', '.join(classes)}")
    return classes


def _topic(spec: PromptBankSpec, class_name: str) -> Topic:
    words = {"class": spec.spoken(class_name), "count": str(spec.per_request)}
    return Topic(class_name, class_name, spec.names(class_name), fill(spec.instruction, **words), spec.per_class)


def _read(topic: Topic, answer: Response) -> list[ParsedLine]:
    return read_prompts(answer, topic.names)
