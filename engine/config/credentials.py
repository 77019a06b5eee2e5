"""Recognition of credentials, which must not be in a spec: every run keeps a copy that others can read."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import SpecError

# The documented prefixes of keys. Repetitions are bounded, so that no text takes long to search.
_FORMS = {
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20}",
    "an API key": r"\b(?:sk-(?=[\w-]{0,200}[0-9])[\w-]{20}|AIza[\w-]{35})",
    "a GitHub token": r"\b(?:gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})",
    "a GitLab token": r"\bglpat-[\w-]{20}",
    "a Slack token": r"\bxox[abeprs]-[\w-]{10}",
    "a JSON web token": r"\beyJ[\w-]{8,500}\.eyJ[\w-]{8,2000}\.",
    "a private key": r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY",
    "a URL with a password": r"\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@?#]{0,200}:[^\s/@?#]{1,500}@",
    "a signed URL": r"[?&](?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)"
    r"|AWSAccessKeyId|Signature|sig|(?:access_|auth_)?token|api_?key|password)=[^&\s]",
}
_PATTERNS = {kind: re.compile(form, re.ASCII | re.IGNORECASE * ("URL" in kind)) for kind, form in _FORMS.items()}
_WORDS = r"passw(?:or)?d|secret|token|credentials?|(?:api|access|private)[_-]?key"
_NAME = re.compile(rf"(?:^|[._-])(?:{_WORDS})$", re.IGNORECASE)
_SHORTEST = 8


def is_secret(name: str, value: str) -> bool:
    """Return whether a value is a credential, by its name or its form."""
    return _kind(name, value) is not None


def refuse_secrets(content: Any, place: str) -> None:
    """Raise SpecError if `content`, which has JSON types, holds a credential. The message does not repeat it."""
    for where, name, text in _texts(content):
        if kind := _kind(name, text):
            raise SpecError(
                f"{place}: {where or 'a key'}: looks like {kind}, and a run keeps a copy of its spec\nput it into the "
                "environment (HF_TOKEN, AWS_SECRET_ACCESS_KEY, the variable that api_key_env names), or give the "
                "machine a role"
            )


def _kind(name: str, text: str) -> str | None:
    form = next((kind for kind, pattern in _PATTERNS.items() if pattern.search(text)), None)
    return form or ("a credential, by its name" if _NAME.search(name) and len(text) >= _SHORTEST else None)


def _texts(content: Any) -> Iterator[tuple[str, str, str]]:
    """Yield place, name and text of every key and value, a key before the values below it."""
    # A stack instead of recursion, so that no depth is too much.
    waiting = [("", "", content)]
    while waiting:
        place, name, value = waiting.pop()
        if isinstance(value, str):
            yield place, name, value
        elif isinstance(value, Mapping):
            yield from ((place, "", key) for key in value)
            waiting += [(f"{place}.{key}".lstrip("."), key, value[key]) for key in reversed(value)]
        elif isinstance(value, list):
            waiting += [(f"{place}.{number}", "", value[number]) for number in reversed(range(len(value)))]
