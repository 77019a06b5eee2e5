"""The metadata of a sample: the fields of its `.json` member."""

import json
from collections.abc import Mapping
from typing import Any


def parse_metadata(text: bytes) -> dict[str, Any]:
    """Return the fields of a `.json`; empty if it is damaged or not an object."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def synthetic_flag(metadata: Mapping[str, Any]) -> bool | None:
    """Return the field `synthetic`; None if it is absent.

    Raises ValueError for any other value: treated as absent, it could make a synthetic image a real one.
    """
    flag = metadata.get("synthetic")
    if flag is not None and not isinstance(flag, bool):
        raise ValueError(f".json: synthetic is {shorten(flag)}, neither true nor false")
    return flag


def shorten(value: Any) -> str:
    """Return a JSON value for a message. Lists and objects may be nested too deeply to be written."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)[:60]
