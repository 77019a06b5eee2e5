"""Long lists of numbered tars as short text."""

import re
from collections.abc import Sequence


def braces(urls: Sequence[str]) -> list[str]:
    """As brace patterns, `{00000..00099}`, that name exactly these in this order: one for each stretch of numbers."""
    found = []
    for run in _runs(urls):
        before, first, after = _numbered(run[0])
        numbers = f"{{{first}..{_numbered(run[-1])[1]}}}" if len(run) > 1 else first
        found.append(_escaped(before) + numbers + _escaped(after))
    return found


def python_list(urls: Sequence[str]) -> str:
    """As a Python expression whose value is the list of them."""
    return " + ".join(_expression(run) for run in _runs(urls))


def _expression(run: Sequence[str]) -> str:
    if len(run) == 1:
        return repr(list(run))
    before, digits, after = _numbered(run[0])
    doubled = (text.replace("{", "{{").replace("}", "}}") for text in (before, after))
    pattern = f"{{n:0{len(digits)}d}}".join(doubled)
    return f"[f{pattern!r} for n in range({int(digits)}, {int(digits) + len(run)})]"


def _runs(urls: Sequence[str]) -> list[list[str]]:
    """The same, with stretches of consecutive numbers kept together."""
    runs: list[list[str]] = []
    for url in urls:
        before, digits, after = _numbered(url)
        previous = (before, f"{int(digits) - 1:0{len(digits)}d}", after) if digits.strip("0") else None
        if runs and _numbered(runs[-1][-1]) == previous:
            runs[-1].append(url)
        else:
            runs.append([url])
    return runs


def _numbered(url: str) -> tuple[str, str, str]:
    """What stands before the last number of a URL, that number, and the rest; a URL without one is all before it."""
    found = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", url)
    return (found[1], found[2], found[3]) if found else (url, "", "")


def _escaped(text: str) -> str:
    return re.sub(r"([\\{}])", r"\\\1", text)
