"""Filling a bank: from topics to a parquet file."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.errors import BankIncomplete, RunMismatch
from engine.prompts.llm.bank_spec import CaptionBankSpec, PromptBankSpec
from engine.prompts.llm.language_model import AnsweredQuestion, Log, load_model
from engine.prompts.llm.question_planner import QuestionPlanner, TopicResult
from engine.prompts.llm.question_progress import QuestionProgress
from engine.prompts.llm.response_cache import ResponseCache, open_response_cache
from engine.prompts.prompt_bank import BankRow, write_bank

_SHOWN = 5


@dataclass(frozen=True)
class BankSummary:
    """A written bank. rejected: how many lines were turned down, by reason; missed: how many prompts are missing."""

    path: Path
    rows: int
    rejected: Counter[str]
    missed: int

    def __str__(self) -> str:
        turned_down = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.most_common()) or "nothing"
        return f"{self.path}: {self.rows:,} prompts; turned down: {turned_down}; missing: {self.missed:,}"


def response_cache_path(out: Path) -> Path:
    """Where the answers are kept that a bank is made of."""
    return out.with_name(out.name + ".answers.jsonl")


def fill_bank(
    spec: PromptBankSpec | CaptionBankSpec,
    interview: QuestionPlanner,
    may_miss: Callable[[str], int],
    out: Path,
    log: Log,
) -> BankSummary:
    """Ask until every topic has what it wants, then write the bank; the same call again asks only what is missing.

    may_miss: how many prompts of a class may be missing in the end. Raises BankIncomplete where more are, and what
    `open_journal` and the model raise; whatever was answered until then is kept.
    """
    journal_file = response_cache_path(out)
    if out.exists() and not journal_file.exists():
        raise RunMismatch(f"{out} exists without {journal_file.name}, which it was made of; give another --out")
    harvests = [TopicResult(topic) for topic in interview.topics]
    with open_response_cache(journal_file, spec.asked()) as journal:
        _ask(spec, interview, harvests, journal, log)
        _check(harvests, may_miss, journal_file)
        write_bank(out, _rows(spec, interview, harvests))
    rejected = sum((harvest.rejected for harvest in harvests), Counter[str]())
    kept = sum(len(harvest.kept) for harvest in harvests)
    return BankSummary(out, kept, rejected, sum(harvest.lacking for harvest in harvests))


def _ask(
    spec: PromptBankSpec | CaptionBankSpec,
    interview: QuestionPlanner,
    harvests: Sequence[TopicResult],
    journal: ResponseCache,
    log: Log,
) -> None:
    model = None
    for number, questions in enumerate(interview.rounds(harvests, journal.answers), 1):
        model = model or load_model(spec.model, log)  # a bank whose answers are all there needs none
        model.answer(questions, partial(_keep, journal, QuestionProgress(number, len(questions), log)))


def _keep(journal: ResponseCache, progress: QuestionProgress, answered: Sequence[AnsweredQuestion]) -> None:
    journal.add(answered)
    progress.add(len(answered))


def _rows(
    spec: PromptBankSpec | CaptionBankSpec, interview: QuestionPlanner, harvests: Sequence[TopicResult]
) -> list[BankRow]:
    """In the order of topics, requests and lines."""
    return [
        BankRow(
            class_name=harvest.topic.class_name,
            prompt=text,
            source="" if harvest.topic.show is None else harvest.topic.key,
            model=spec.model.title,
            instruction=harvest.topic.instruction,
            seed=interview.question(harvest.topic, number).seed,
        )
        for harvest in harvests
        for number, text in harvest.kept
    ]


def _check(harvests: Sequence[TopicResult], may_miss: Callable[[str], int], journal: Path) -> None:
    missing, wanted, rejected = Counter[str](), Counter[str](), dict[str, Counter[str]]()
    for harvest in harvests:
        name = harvest.topic.class_name
        missing[name] += harvest.lacking
        wanted[name] += harvest.topic.want
        rejected.setdefault(name, Counter()).update(harvest.rejected)
    short = [name for name, count in missing.items() if count > may_miss(name)]
    if not short:
        return
    told = [
        f"{name}: {wanted[name] - missing[name]} of {wanted[name]} "
        f"({', '.join(f'{count} {reason}' for reason, count in rejected[name].most_common(3))})"
        for name in short[:_SHOWN]
    ]
    more = f" and {len(short) - _SHOWN} more classes" if len(short) > _SHOWN else ""
    raise BankIncomplete(
        f"too few usable prompts for {'; '.join(told)}{more}\n"
        "raise patience, give aliases in words, or ask for fewer, and run the same command again; "
        f"the answers so far are kept in {journal}"
    )
