"""What a command says while it works: lines for people, or a JSON object a line for programs."""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from rich.console import Console

Level = Literal["info", "warning", "error"]
LogFormat = Literal["text", "json"]


class Log(Protocol):
    """Where lines go. event: a name that stays the same over versions; text: for people; fields: JSON values."""

    @property
    def console(self) -> Console | None:
        """Of the terminal, for what is drawn between the lines; None where lines are for programs."""

    def say(self, event: str, text: str, level: Level = "info", **fields: Any) -> None:
        """A line for people and programs."""
        ...

    def record(self, event: str, level: Level = "info", **fields: Any) -> None:
        """A line for programs alone: people would not read so many."""
        ...


class TextLog:
    """Time of day and text."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def say(self, event: str, text: str, level: Level = "info", **fields: Any) -> None:
        """See `Log.say`."""
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, soft_wrap=True)

    def record(self, event: str, level: Level = "info", **fields: Any) -> None:
        """See `Log.record`."""


class JsonLog:
    """A `json_line` each on standard output, at once."""

    console = None

    def say(self, event: str, text: str, level: Level = "info", **fields: Any) -> None:
        """See `Log.say`."""
        self.record(event, level, message=text, **fields)

    def record(self, event: str, level: Level = "info", **fields: Any) -> None:
        """See `Log.record`."""
        sys.stdout.write(json_line(event, level, **fields) + "\n")
        sys.stdout.flush()


def json_line(event: str, level: Level, **fields: Any) -> str:
    """`{"time", "level", "event", ...}`; time in ISO 8601, UTC."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, "event": event, **fields}, ensure_ascii=False)


def open_log(form: LogFormat) -> Log:
    """The log that `--log-format` asks for."""
    return TextLog() if form == "text" else JsonLog()
