"""The template environment of the page, with the filters that format numbers and text."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from engine.monitoring.formatting import format_bytes

_NAME_LENGTH = 80


def page_template() -> Template:
    """Return the template of the page."""
    # Prompts, class names and model cards come from outside: autoescape applies to everything.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "percent": lambda value: f"{100 * value:.1f}%",
        "points": lambda value: f"{100 * value:+.1f}",
        "count": lambda value: f"{value:,}",
        "name": lambda text: shorten(str(text), _NAME_LENGTH),
        "duration": _duration,
        "bytes": format_bytes,
        "place": lambda value: f"{value:.2f}%",
    }
    environment.filters.update(filters)
    return environment.get_template("report.html.j2")


def shorten(text: str, length: int) -> str:
    """Return the text, cut to `length` characters with an ellipsis if it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _duration(seconds: float) -> str:
    """Return a time as text: 12.3 s, 4 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"
