"""From what a model said to prompts, and to reasons why a line is none. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_MARK = re.compile(r"^(?:#{1,6}\s+)?(?:[-*•–+]|\(?\d{1,3}[.):])\s+")
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


@dataclass(frozen=True, slots=True)
class Response:
    """What a model said; `cut` where it was stopped before its end."""

    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """A prompt, or text that is none and the reason why."""

    text: str
    reason: str = ""


def read_prompts(answer: Response, names: Sequence[str]) -> list[ParsedLine]:
    """Each prompt of an answer that is a list of them, one per line: numbered, bulleted, quoted or plain.

    Reasons: refusal, class name lost, cut off. What is said around a list is no line at all.
    """
    return [_judge(line, names) for line in _lines(answer)]


def read_caption(answer: Response, names: Sequence[str], prefix: str | None) -> list[ParsedLine]:
    """The one description that an answer holds; `prefix` goes before one that lacks the class name."""
    found = [_judge(line, names) for line in _lines(answer)[:1]]
    if prefix is not None:
        return [ParsedLine(prefix + line.text) if line.reason == "class name lost" else line for line in found]
    return found


def contains_name(text: str, names: Sequence[str]) -> bool:
    """Whether one of the names stands in the text as a whole word, in singular or plural, in any case."""
    return _pattern(tuple(names)).search(_plain(text)) is not None


def deduplication_key(text: str) -> str:
    """Equal for texts that differ in case, punctuation and spaces alone."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def _judge(line: ParsedLine, names: Sequence[str]) -> ParsedLine:
    if line.reason:
        return line
    if _REFUSAL.search(line.text):
        return ParsedLine(line.text, "refusal")
    return line if contains_name(line.text, names) else ParsedLine(line.text, "class name lost")


def _lines(answer: Response) -> list[ParsedLine]:
    """The lines that may be prompts, without marks and quotes; the last of a cut answer up to its last sentence."""
    raw = [" ".join(_printable(line).split()) for line in _THOUGHT.sub("", answer.text).splitlines()]
    raw = [line.replace("**", "") for line in raw if any(map(str.isalnum, line))]
    if not raw:
        return [ParsedLine("", "nothing said")]
    if _REFUSAL.search(raw[0]):
        return [ParsedLine(raw[0], "refusal")]
    if answer.cut:
        raw[-1] = _whole_sentences(raw[-1])
    marked = [line for line in raw if _MARK.match(line)]
    said = marked if len(marked) > 1 else [line for line in raw if not _CHATTER.match(line)]
    return [ParsedLine(bare) for line in said if (bare := _bare(line))] or [
        ParsedLine("", "cut off" if answer.cut else "nothing said")
    ]


def _bare(line: str) -> str:
    line = _LABEL.sub("", _MARK.sub("", line)).strip("*_ ")
    quoted = _QUOTED.fullmatch(line)
    return quoted[1].strip() if quoted else line


def _whole_sentences(line: str) -> str:
    """Without what follows its last full stop; "" if there is none."""
    mark = _MARK.match(line)
    found = _SENTENCE.match(line, mark.end() if mark else 0)
    return line[: found.end()] if found else ""


def _printable(text: str) -> str:
    """Without control characters, and without the halves of characters that JSON can spell and no file can hold."""
    plain = unicodedata.normalize("NFC", text).replace("’", "'")
    return "".join(c if c.isprintable() else " " for c in plain)


@lru_cache(maxsize=4096)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    found = "|".join(_either_number(_plain(name)) for name in names)
    return re.compile(rf"(?<!\w)(?:{found})(?!\w)")


def _either_number(name: str) -> str:
    """A pattern of the name and of its regular plurals."""
    plurals = [name, name + "s", name + "es"]
    if name.endswith("y"):
        plurals.append(name[:-1] + "ies")
    if name.endswith(("f", "fe")):
        plurals.append(name.removesuffix("e").removesuffix("f") + "ves")
    return "|".join(map(re.escape, plurals))


def _plain(text: str) -> str:
    """As names are compared: `sea_lion`, `Sea-Lion` and `sea lion` are one."""
    return " ".join(re.sub(r"[_\-‐‑]", " ", unicodedata.normalize("NFC", text).casefold()).split())
