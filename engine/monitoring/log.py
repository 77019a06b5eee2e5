"""The log of a command: lines for people, or JSON lines for programs."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Console

Level = Literal["info", "warning", "error"]
LogFormat = Literal["text", "json"]


class TextLog:
    """A log of lines with time of day and text. console: a live display may be drawn on it between the lines."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def message(self, event: str, text: str, level: Level = "info", **fields: Any) -> None:
        """Log an event for people and programs. event: stays the same over versions. fields: JSON values."""
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, soft_wrap=True)

    def record(self, event: str, level: Level = "info", **fields: Any) -> None:
        """Log nothing: the event is too frequent for people."""


class JsonLog:
    """A log of JSON lines on standard output: `{"time", "level", "event", ...}` with the time in ISO 8601, UTC."""

    console = None

    def message(self, event: str, text: str, level: Level = "info", **fields: Any) -> None:
        """Write the event with its text as `message`."""
        self.record(event, level, message=text, **fields)

    def record(self, event: str, level: Level = "info", **fields: Any) -> None:
        """Write the event."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "level": level, "event": event, **fields}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")  # one call: other threads write lines, too
        sys.stdout.flush()


Log = TextLog | JsonLog


def open_log(log_format: LogFormat) -> Log:
    """Return the log of a `--log-format`."""
    return TextLog() if log_format == "text" else JsonLog()
