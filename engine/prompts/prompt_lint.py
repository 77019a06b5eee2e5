"""Checks of the prompts of a run before any image is made. Findings are warnings; none stops a run."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from textwrap import shorten

from engine.config.prompts_spec import ClassPrompts
from engine.models.tokenizer_limits import TextLimit
from engine.prompts.prompt_sampler import PromptSampler
from engine.prompts.wordnet import Meaning
from engine.seeds import permute
from engine.types import Prompt

_SAMPLE_SIZE = 20_000  # prompts checked in all, divided among the classes
_MIN_PER_CLASS, _MAX_PER_CLASS = 20, 1000
_MAX_REPEATED_SHARE = 0.95
_MAX_SHARED_SHARE = 0.1
_SHOWN = 5
_GLOSS_LENGTH = 48  # characters that fit into a prompt

_Sample = Mapping[str, Sequence[Prompt]]  # the sampled prompts of each class
Meanings = Callable[[str], Sequence[Meaning]]
"""Returns the likely meanings of a name; one or none if the name is unambiguous."""


def lint_prompts(
    prompts: PromptSampler,
    limits: Sequence[TextLimit] = (),
    meanings: Meanings | None = None,
    *,
    conditioned: bool = False,
) -> list[str]:
    """Return all findings, one line each. conditioned: images vary by conditions, so equal prompts are no finding."""
    exceptions = prompts.spec.classes
    count = max(_MIN_PER_CLASS, min(_MAX_PER_CLASS, _SAMPLE_SIZE // len(prompts.classes)))
    sample = {
        name: [prompts.prompt_at(label, permute(i, quota, key=label)) for i in range(min(quota, count))]
        for label, (name, quota) in enumerate(zip(prompts.classes, prompts.quotas, strict=True))
        if quota
    }
    return [
        *(() if meanings is None else _find_ambiguous_names(sample, exceptions, meanings)),
        *(() if conditioned else _find_repeated(sample)),
        *_find_shared(sample),
        *_find_other_classes(sample, exceptions),
        *_find_too_long(sample, limits),
    ]


def _find_ambiguous_names(sample: _Sample, exceptions: Mapping[str, ClassPrompts], meanings: Meanings) -> Iterator[str]:
    """Yield a finding for each class name that has several meanings and that the spec does not replace."""
    for name in sample:
        if exceptions.get(name, ClassPrompts()).name is not None:
            continue
        likely = meanings(name)
        if len(likely) > 1:
            glosses = "; ".join(f"({n}) {meaning.gloss}" for n, meaning in enumerate(likely[:_SHOWN], 1))
            example = shorten(likely[0].gloss, _GLOSS_LENGTH, placeholder="")
            yield (
                f"{name}: means several things: {glosses}; say in the prompts which one, "
                f"like --set 'prompts.classes.{name}.name={name} ({example})'"
            )


def _find_repeated(sample: _Sample) -> Iterator[str]:
    """Yield a finding for the classes of which nearly all prompts are repetitions."""
    classes_by_finding: dict[str, list[str]] = {}
    for name, prompts in sample.items():
        texts_by_strategy: dict[str, list[str]] = {}
        for prompt in prompts:
            texts_by_strategy.setdefault(prompt.strategy, []).append(prompt.text)
        for strategy, texts in texts_by_strategy.items():
            distinct = len(set(texts))
            if 1 - distinct / len(texts) > _MAX_REPEATED_SHARE:
                finding = f"{distinct} distinct prompts among {len(texts)} of strategy {strategy!r}"
                classes_by_finding.setdefault(finding, []).append(name)
    for finding, names in classes_by_finding.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        shown = ", ".join(names[:_SHOWN]) + more
        yield f"{shown}: {finding}; only seeds vary the others: add templates, attributes or a bank"


def _find_shared(sample: _Sample) -> Iterator[str]:
    """Yield a finding for each pair of classes with nearly equal prompts, like those of a template without {class}."""
    texts_by_class = {name: {" ".join(_words(prompt.text)) for prompt in prompts} for name, prompts in sample.items()}
    classes_by_text: dict[str, list[str]] = {}
    for name, texts in texts_by_class.items():
        for text in texts:
            classes_by_text.setdefault(text, []).append(name)
    pairs = Counter(pair for names in classes_by_text.values() for pair in combinations(names[: 2 * _SHOWN], 2))
    for (first, second), count in pairs.items():
        if count / min(len(texts_by_class[first]), len(texts_by_class[second])) > _MAX_SHARED_SHARE:
            text = next(text for text, names in classes_by_text.items() if first in names and second in names)
            yield f"{first} and {second}: {count} prompts are nearly equal, like {text!r}; make the classes differ"


def _find_other_classes(sample: _Sample, exceptions: Mapping[str, ClassPrompts]) -> Iterator[str]:
    """Yield a finding for each class whose prompts name another class."""
    class_words = {name: tuple(_words(exceptions.get(name, ClassPrompts()).name or name)) for name in sample}
    class_of = {words: name for name, words in class_words.items()}
    longest = max((len(words) for words in class_of), default=0)
    for name, prompts in sample.items():
        own_words, texts_by_class = set(class_words[name]), dict[str, list[str]]()
        for prompt in prompts:
            words = _words(prompt.text)
            spans = {tuple(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)}
            for other in {class_of[span] for span in spans & class_of.keys() if not set(span) <= own_words}:
                texts_by_class.setdefault(other, []).append(prompt.text)
        for other, texts in sorted(texts_by_class.items(), key=lambda item: -len(item[1]))[:_SHOWN]:
            yield f"{name}: {len(texts)} of {len(prompts)} prompts name {other!r}, like {texts[0]!r}"


def _find_too_long(sample: _Sample, limits: Sequence[TextLimit]) -> Iterator[str]:
    """Yield a finding for each text encoder and class with prompts that the encoder cuts."""
    for limit in limits:
        for name, prompts in sample.items():
            texts = {prompt.text for prompt in prompts} | {prompt.negative for prompt in prompts}
            lengths = {text: limit.count(text) for text in sorted(texts)}
            too_long = [text for text, length in lengths.items() if length > limit.tokens]
            if too_long:
                longest = max(too_long, key=lambda text: lengths[text])
                yield (
                    f"{name}: {len(too_long)} of {len(texts)} prompts are cut by the {limit.name}, which reads "
                    f"{limit.tokens} tokens; the longest has {lengths[longest]}: {longest!r}"
                )


def _words(text: str) -> list[str]:
    """Return the lower-case words of a text, simple plurals as singulars."""
    words = re.findall(r"\w+", text.casefold())
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]
