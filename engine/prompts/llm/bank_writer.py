"""Writing a bank: ask a model about each topic, and write the accepted prompts to a parquet file."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from engine.errors import BankIncomplete, RunMismatch
from engine.prompts.llm.backend_settings import ServerSpec, TransformersSpec, VisionSpec
from engine.prompts.llm.bank_spec import CaptionBankSpec, PromptBankSpec
from engine.prompts.llm.language_model import AnsweredQuestion, LanguageModel, Log
from engine.prompts.llm.question_planner import QuestionPlanner, TopicResult
from engine.prompts.llm.response_cache import ResponseCache, open_response_cache
from engine.prompts.prompt_bank import BankRow, write_bank

_SHOWN = 5
_SECONDS_BETWEEN_LINES = 5.0
_RATE_WINDOW = 32  # calls that the rate is measured over, so that it recovers soon after a pause


@dataclass(frozen=True)
class BankSummary:
    """Numbers of a written bank. rejected: lines by reason. missing: prompts."""

    path: Path
    rows: int
    rejected: Counter[str]
    missing: int

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.most_common()) or "none"
        return f"{self.path}: {self.rows:,} prompts; rejected: {reasons}; missing: {self.missing:,}"


class _QuestionProgress:
    """A counter of the responses of a round that writes a line every few seconds."""

    def __init__(self, round_number: int, total: int, log: Log) -> None:
        self._name, self._total, self._log = f"round {round_number}", total, log
        self._answered = 0
        self._calls = deque([(time.monotonic(), 0)], maxlen=_RATE_WINDOW)
        self._last_line = time.monotonic()
        log(f"{self._name}: {total:,} requests")

    def add(self, count: int) -> None:
        now = time.monotonic()
        self._answered += count
        self._calls.append((now, self._answered))
        if self._answered == self._total or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._log(self._line())

    def _line(self) -> str:
        (first_time, first_count), (last_time, last_count) = self._calls[0], self._calls[-1]
        rate = (last_count - first_count) / max(last_time - first_time, 1e-9)
        remaining = timedelta(seconds=round((self._total - last_count) / rate))
        eta = f", ETA {remaining}" if last_count < self._total else ""
        return f"{self._name}: {last_count:,} of {self._total:,} requests answered | {rate:.2f} per second{eta}"


def response_cache_path(out: Path) -> Path:
    """Return the path of the responses that a bank is made of."""
    return out.with_name(out.name + ".answers.jsonl")


def fill_bank(
    spec: PromptBankSpec | CaptionBankSpec,
    planner: QuestionPlanner,
    may_miss: Callable[[str], int],
    out: Path,
    log: Log,
) -> BankSummary:
    """Ask until every topic has enough prompts, then write the bank. The same call again asks only what is missing.

    Raises BankIncomplete if more prompts of a class are missing than `may_miss` returns for it, and the errors of
    `open_response_cache` and of the model. All responses so far are kept.
    """
    cache_path = response_cache_path(out)
    if out.exists() and not cache_path.exists():
        raise RunMismatch(f"{out} exists without its responses, {cache_path.name}; choose another --out")
    results = [TopicResult(topic) for topic in planner.topics]
    with open_response_cache(cache_path, spec.identity()) as cache:
        model = None
        for number, questions in enumerate(planner.rounds(results, cache.responses), 1):
            model = model or _load_model(spec.model, log)  # not loaded if the cache answers all questions
            model.answer(questions, partial(_store, cache, _QuestionProgress(number, len(questions), log)))
        _check_complete(results, may_miss, cache_path)
        write_bank(out, _make_rows(spec, planner, results))
    rejected = sum((result.rejected for result in results), Counter[str]())
    accepted = sum(len(result.accepted) for result in results)
    return BankSummary(out, accepted, rejected, sum(result.missing for result in results))


def _store(cache: ResponseCache, progress: _QuestionProgress, answered: Sequence[AnsweredQuestion]) -> None:
    cache.add(answered)
    progress.add(len(answered))


def _make_rows(
    spec: PromptBankSpec | CaptionBankSpec, planner: QuestionPlanner, results: Sequence[TopicResult]
) -> list[BankRow]:
    return [
        BankRow(
            class_name=result.topic.class_name,
            prompt=prompt,
            source="" if result.topic.load_image is None else result.topic.key,
            model=spec.model.title,
            instruction=result.topic.instruction,
            seed=planner.question(result.topic, number).seed,
        )
        for result in results
        for number, prompt in result.accepted
    ]


def _check_complete(results: Sequence[TopicResult], may_miss: Callable[[str], int], cache_path: Path) -> None:
    missing, wanted, rejected = Counter[str](), Counter[str](), dict[str, Counter[str]]()
    for result in results:
        name = result.topic.class_name
        missing[name] += result.missing
        wanted[name] += result.topic.target_count
        rejected.setdefault(name, Counter()).update(result.rejected)
    incomplete = [name for name, count in missing.items() if count > may_miss(name)]
    if not incomplete:
        return
    details = [
        f"{name}: {wanted[name] - missing[name]} of {wanted[name]} "
        f"({', '.join(f'{count} {reason}' for reason, count in rejected[name].most_common(3))})"
        for name in incomplete[:_SHOWN]
    ]
    more = f" and {len(incomplete) - _SHOWN} more classes" if len(incomplete) > _SHOWN else ""
    raise BankIncomplete(
        f"too few usable prompts for {'; '.join(details)}{more}\n"
        "raise patience, add aliases in words, or ask for fewer prompts, and run the same command again; "
        f"the responses so far are kept in {cache_path}"
    )


def _load_model(spec: TransformersSpec | ServerSpec, log: Log) -> LanguageModel:
    """Return the model. Raises ModelError if it cannot be loaded, SpecError if the key of its server is missing."""
    # Each back end needs a heavy library, and none of the others'.
    if isinstance(spec, TransformersSpec):
        from engine.prompts.llm.transformers_model import TextModel, VisionModel

        return VisionModel(spec) if isinstance(spec, VisionSpec) else TextModel(spec)
    from engine.prompts.llm.chat_client import ChatClient

    return ChatClient(spec, log)
