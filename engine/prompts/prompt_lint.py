"""What is wrong with the prompts of a run, before GPUs are spent on them.

Findings are advice: none stops a run. Long prompts are cut by text encoders without a word, a name like `crane` makes
birds and machines under one label, and a bank's `a cat chasing a dog` teaches a classifier the wrong thing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from textwrap import shorten
from typing import Protocol

from engine.config.prompts_spec import ClassPrompts
from engine.models.tokenizer_limits import TextLimit
from engine.prompts.prompt_sampler import PromptSampler
from engine.seeds import permute
from engine.types import Prompt

_LOOKED_AT = 20_000
"""Prompts in all, drawn from those of the run; a finding's share is one of these."""
_LOOKED_AT_PER_CLASS = 20, 1000
_MOST_REPEATS = 0.95
_MOST_SHARED = 0.1
_SHOWN = 5
_GLOSS = 48
"""Characters of a gloss that a prompt has room for."""


class NounMeaning(Protocol):
    """One meaning of a noun."""

    @property
    def gloss(self) -> str:
        """Its definition."""
        ...


Meanings = Callable[[str], Sequence[NounMeaning]]
"""The meanings that a name may well be taken for; one or none where it is clear."""


def lint_prompts(
    prompts: PromptSampler,
    limits: Sequence[TextLimit] = (),
    meanings: Meanings | None = None,
    *,
    conditioned: bool = False,
) -> list[str]:
    """Return all findings, one line each. Without a tokenizer or a dictionary, their checks are left out.

    conditioned: the images vary by their conditions, so equal prompts are no finding.
    """
    special = prompts.spec.classes
    least, most = _LOOKED_AT_PER_CLASS
    count = max(least, min(most, _LOOKED_AT // len(prompts.classes)))
    drawn = {
        name: _draw(prompts, label, quota, count)
        for label, (name, quota) in enumerate(zip(prompts.classes, prompts.quotas, strict=True))
        if quota
    }
    names = {name: _told(name, special) for name in drawn}
    return [
        *_ambiguous(drawn, special, meanings),
        *(() if conditioned else _repeated(drawn)),
        *_shared(drawn),
        *_foreign(drawn, names),
        *_too_long(drawn, limits),
    ]


def _draw(book: PromptSampler, label: int, quota: int, count: int) -> list[Prompt]:
    """At most `count` prompts of a class, picked evenly at random from all of its ordinals."""
    return [book.at(label, permute(i, quota, key=label)) for i in range(min(quota, count))]


def _told(name: str, special: Mapping[str, ClassPrompts]) -> str:
    return special[name].name or name if name in special else name


def _ambiguous(
    drawn: Mapping[str, Sequence[Prompt]], special: Mapping[str, ClassPrompts], meanings: Meanings | None
) -> Iterator[str]:
    """Class names that a spec does not word differently, and that mean several things."""
    for name in drawn:
        if meanings is None or special.get(name, ClassPrompts()).name is not None:
            continue
        found = meanings(name)
        if len(found) > 1:
            glosses = "; ".join(f"({n}) {one.gloss}" for n, one in enumerate(found[:_SHOWN], 1))
            yield (
                f"{name}: means several things: {glosses}; say in the prompts which one, "
                f"like --set 'prompts.classes.{name}.name={name} ({shorten(found[0].gloss, _GLOSS, placeholder='')})'"
            )


def _repeated(drawn: Mapping[str, Sequence[Prompt]]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for name, prompts in drawn.items():
        by_strategy: dict[str, list[str]] = {}
        for prompt in prompts:
            by_strategy.setdefault(prompt.strategy, []).append(prompt.text)
        for strategy, texts in by_strategy.items():
            distinct = len(set(texts))
            if 1 - distinct / len(texts) > _MOST_REPEATS:
                count = f"{distinct} distinct prompts among {len(texts)} of strategy {strategy!r}"
                found.setdefault(count, []).append(name)
    for count, names in found.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        shown = ", ".join(names[:_SHOWN]) + more
        yield f"{shown}: {count}; only seeds vary the others: add templates, attributes or a bank"


def _shared(drawn: Mapping[str, Sequence[Prompt]]) -> Iterator[str]:
    """Pairs of classes that are told nearly the same: a template without {class}, or names that differ in a plural."""
    normal = {name: {_normal(prompt.text) for prompt in prompts} for name, prompts in drawn.items()}
    owners: dict[str, list[str]] = {}
    for name, texts in normal.items():
        for text in texts:
            owners.setdefault(text, []).append(name)
    pairs = Counter(pair for names in owners.values() for pair in combinations(names[: 2 * _SHOWN], 2))
    for (one, other), count in pairs.items():
        if count / min(len(normal[one]), len(normal[other])) > _MOST_SHARED:
            text = next(text for text, names in owners.items() if one in names and other in names)
            yield f"{one} and {other}: {count} prompts are nearly equal, like {text!r}; tell the classes apart"


def _foreign(drawn: Mapping[str, Sequence[Prompt]], names: Mapping[str, str]) -> Iterator[str]:
    """Prompts of a class that name another one."""
    known = {tuple(_words(told)): name for name, told in names.items()}
    longest = max((len(words) for words in known), default=0)
    for name, prompts in drawn.items():
        own, found = set(_words(names[name])), dict[str, list[str]]()
        for prompt in prompts:
            words = _words(prompt.text)
            spans = {tuple(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)}
            for other in {known[span] for span in spans & known.keys() if not set(span) <= own}:
                found.setdefault(other, []).append(prompt.text)
        for other, texts in sorted(found.items(), key=lambda item: -len(item[1]))[:_SHOWN]:
            yield f"{name}: {len(texts)} of {len(prompts)} prompts name {other!r}, like {texts[0]!r}"


def _too_long(drawn: Mapping[str, Sequence[Prompt]], limits: Sequence[TextLimit]) -> Iterator[str]:
    for limit in limits:
        for name, prompts in drawn.items():
            texts = {prompt.text for prompt in prompts} | {prompt.negative for prompt in prompts}
            lengths = {text: limit.count(text) for text in sorted(texts)}
            long = [text for text, length in lengths.items() if length > limit.tokens]
            if long:
                worst = max(long, key=lambda text: lengths[text])
                yield (
                    f"{name}: {len(long)} of {len(texts)} prompts are cut by the {limit.name}, which reads "
                    f"{limit.tokens} tokens; the longest has {lengths[worst]}: {worst!r}"
                )


def _words(text: str) -> list[str]:
    """Lower-case words, simple plurals as singulars."""
    found = re.findall(r"\w+", text.casefold())
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in found]


def _normal(text: str) -> str:
    return " ".join(_words(text))
