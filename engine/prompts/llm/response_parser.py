"""Parsing of a model's responses into prompts, or into rejected lines with a reason. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_THINKING = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_LIST_MARK = re.compile(r"^(?:#{1,6}\s+)?(?:[-*•–+]|\(?\d{1,3}[.):])\s+")
_LABEL = re.compile(r"^(?:prompt|caption|description)(?:\s*#?\d+\s*[-–.:)]|\s*:)\s*", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“‘'`](.+?)[\"”’'`][.,]?")
_CHATTER = re.compile(
    r"(?:sure|certainly|absolutely|of course|okay|ok|here(?:'s| is| are)|below (?:is|are)|i hope|let me know|feel free"
    r"|note)\b|.*:$|```",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^(?:i'm |i am )?sorry\b|\bi(?:'m| am) (?:afraid|unable|not able|not allowed)\b|\bas an? (?:ai|language model)\b"
    r"|\bi (?:cannot|can't|can not|won't|will not|must decline|apologi[sz]e)\b|\bas a (?:large )?language model\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r".*[.!?](?=\s|$)")
_NAME_MISSING = "class name missing"


@dataclass(frozen=True, slots=True)
class Response:
    """The text of a model. truncated: the model reached its limit of tokens before the end."""

    text: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """A line of a response. rejection: why it is no usable prompt; "" if it is one."""

    text: str
    rejection: str = ""


def parse_prompts(response: Response, names: Sequence[str]) -> list[ParsedLine]:
    """Return the prompts of a response that lists them, one per line; those without any of the names are rejected."""
    return [_check(line, names) for line in _split_lines(response)]


def parse_caption(response: Response, names: Sequence[str], prefix: str | None) -> list[ParsedLine]:
    """Return the one description in a response. prefix: goes before a description without any of the names."""
    lines = [_check(line, names) for line in _split_lines(response)[:1]]
    if prefix is not None:
        return [ParsedLine(prefix + line.text) if line.rejection == _NAME_MISSING else line for line in lines]
    return lines


def contains_name(text: str, names: Sequence[str]) -> bool:
    """Return whether the text has one of the names as a whole word, in singular or plural, in any case."""
    return _names_pattern(tuple(names)).search(_normalize(text)) is not None


def deduplication_key(text: str) -> str:
    """Return a key that is equal for texts that differ only in case, punctuation and spaces."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def _check(line: ParsedLine, names: Sequence[str]) -> ParsedLine:
    if line.rejection:
        return line
    if _REFUSAL.search(line.text):
        return ParsedLine(line.text, "refusal")
    return line if contains_name(line.text, names) else ParsedLine(line.text, _NAME_MISSING)


def _split_lines(response: Response) -> list[ParsedLine]:
    """Return the lines that may be prompts, without marks and quotes. A truncated last one ends with its sentence."""
    lines = [" ".join(_printable(line).split()) for line in _THINKING.sub("", response.text).splitlines()]
    lines = [line.replace("**", "") for line in lines if any(map(str.isalnum, line))]
    if not lines:
        return [ParsedLine("", "empty response")]
    if _REFUSAL.search(lines[0]):
        return [ParsedLine(lines[0], "refusal")]
    if response.truncated:
        lines[-1] = _whole_sentences(lines[-1])
    marked = [line for line in lines if _LIST_MARK.match(line)]
    candidates = marked if len(marked) > 1 else [line for line in lines if not _CHATTER.match(line)]
    texts = [text for line in candidates if (text := _strip_marks(line))]
    if not texts:
        return [ParsedLine("", "truncated" if response.truncated else "empty response")]
    return [ParsedLine(text) for text in texts]


def _strip_marks(line: str) -> str:
    line = _LABEL.sub("", _LIST_MARK.sub("", line)).strip("*_ ")
    quoted = _QUOTED.fullmatch(line)
    return quoted[1].strip() if quoted else line


def _whole_sentences(line: str) -> str:
    """Return the line up to its last full stop; "" if it has none."""
    mark = _LIST_MARK.match(line)
    sentences = _SENTENCE.match(line, mark.end() if mark else 0)
    return line[: sentences.end()] if sentences else ""


def _printable(text: str) -> str:
    """Return the text with blanks for control characters and for lone surrogates, which UTF-8 cannot encode."""
    composed = unicodedata.normalize("NFC", text).replace("’", "'")
    return "".join(c if c.isprintable() else " " for c in composed)


@lru_cache(maxsize=4096)
def _names_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    alternatives = "|".join(_singular_or_plural(_normalize(name)) for name in names)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")


def _singular_or_plural(name: str) -> str:
    """Return a pattern of the name and its regular plurals."""
    forms = [name, name + "s", name + "es"]
    if name.endswith("y"):
        forms.append(name[:-1] + "ies")
    if name.endswith(("f", "fe")):
        forms.append(name.removesuffix("e").removesuffix("f") + "ves")
    return "|".join(map(re.escape, forms))


def _normalize(text: str) -> str:
    """Return a form in which `sea_lion`, `Sea-Lion` and `sea lion` are equal."""
    return " ".join(re.sub(r"[_\-‐‑]", " ", unicodedata.normalize("NFC", text).casefold()).split())
