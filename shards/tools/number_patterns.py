"""Short text for long lists of numbered tars."""

import re
from collections.abc import Sequence


def brace_patterns(urls: Sequence[str]) -> list[str]:
    """Return patterns like `{00000..00099}` that name exactly these URLs in this order, one per run of numbers."""
    patterns = []
    for run in _runs(urls):
        before, first, after = _numbered(run[0])
        numbers = f"{{{first}..{_numbered(run[-1])[1]}}}" if len(run) > 1 else first
        patterns.append(_escaped(before) + numbers + _escaped(after))
    return patterns


def python_list(urls: Sequence[str]) -> str:
    """Return a Python expression whose value is the list of these URLs."""
    return " + ".join(_expression(run) for run in _runs(urls))


def _expression(run: Sequence[str]) -> str:
    if len(run) == 1:
        return repr(list(run))
    before, digits, after = _numbered(run[0])
    doubled = (text.replace("{", "{{").replace("}", "}}") for text in (before, after))
    pattern = f"{{n:0{len(digits)}d}}".join(doubled)
    return f"[f{pattern!r} for n in range({int(digits)}, {int(digits) + len(run)})]"


def _runs(urls: Sequence[str]) -> list[list[str]]:
    """Return the URLs in groups of consecutive numbers."""
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
    """Split a URL into the text before its last number, the number, and the rest; without a number all is before it."""
    match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", url)
    return (match[1], match[2], match[3]) if match else (url, "", "")


def _escaped(text: str) -> str:
    return re.sub(r"([\\{}])", r"\\\1", text)
