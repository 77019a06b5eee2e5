"""Short ways to write parts of specs."""

from typing import Any

from engine.config.data_spec import SOURCES, SourceSettings


def data_spec(source: str = "digits", **settings: Any) -> SourceSettings:
    """Return the settings of a source of real images."""
    return SOURCES.known[source](source=source, **settings)
