"""Reading a spec from YAML, with overrides, and describing errors in terms of the file."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from engine.config.credentials import refuse_secrets
from engine.config.spec import Spec
from engine.config.strict import Strict
from engine.errors import SpecError
from engine.plugins import PluginFamily
from shards.errors import ShardError
from shards.storage.locations import is_remote, read_bytes
from shards.storage.retries import FileMissing

_Model = TypeVar("_Model", bound=Strict)
_LONGEST = 8 << 20
_DIGITS = 9
_SHOWN = 8
_SHOWN_KEY = 80
_MERGE = "tag:yaml.org,2002:merge"


class _DuplicateKey(Exception):
    """A mapping has a key twice."""


class _Loader(yaml.SafeLoader):
    """A loader that refuses duplicate keys, as YAML demands; PyYAML silently keeps the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping. Raises _DuplicateKey."""
        # Here and not later: `<<` will add the keys of other mappings, which the mapping's own may replace.
        node = super().compose_mapping_node(anchor)
        lines = dict[str, int]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                value, line = self.construct_object(key), key.start_mark.line + 1
                # In JSON, 1 and "1" are the same key.
                name = value if isinstance(value, str) else json.dumps(value, default=str)
                if name in lines:
                    shown = name[:_SHOWN_KEY] if name[:_SHOWN_KEY].isprintable() else json.dumps(name[:_SHOWN_KEY])
                    raise _DuplicateKey(
                        f"{shown}: is in one mapping twice, in lines {lines[name]} and {line}; keep one"
                    )
                lines[name] = line
        return node


def load_spec(path: str | Path, overrides: Sequence[str] = ()) -> Spec:
    """Read the spec of a run. Each override is `key.path=value` with a value in YAML. Raises SpecError."""
    return load_as(Spec, path, overrides)


def load_as(model: type[_Model], path: str | Path, overrides: Sequence[str] = ()) -> _Model:
    """Read a YAML file or URL as `model`. Raises SpecError, which names every wrong field."""
    try:
        text = (read_bytes(str(path)) if is_remote(str(path)) else Path(path).read_bytes()).decode()
    except (FileNotFoundError, FileMissing):
        raise SpecError(f"{path}: no such spec file") from None
    except (OSError, ShardError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    return parse_as(model, text, str(path), overrides)


def parse_as(model: type[_Model], text: str, path: str, overrides: Sequence[str] = ()) -> _Model:
    """Parse a text as `model`; `path` is its origin, for messages. Raises SpecError, for a credential too."""
    refuse_secrets(dict(override.partition("=")[::2] for override in overrides), "--set")
    content = _parse(text, path)
    if not isinstance(content, dict):
        raise SpecError(f"{path}: a spec is a mapping of keys, not {type(content).__name__}")
    for override in overrides:
        _override(content, override)
    # By way of JSON: strict types still accept a list as a tuple there, and a class name of digits as a key.
    written = _json(content, path)
    refuse_secrets(json.loads(written), path)
    try:
        return model.model_validate_json(written)
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in error.errors()]
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise SpecError(f"{path}: " + "\n".join(lines[:_SHOWN] + more)) from None


def dump_spec(spec: Strict) -> str:
    """Write the spec with all defaults as YAML, which reads back as the same spec."""
    return yaml.safe_dump(json.loads(spec.model_dump_json()), sort_keys=False, allow_unicode=True, width=120)


def identity(spec: Spec) -> dict[str, Any]:
    """Return the part of a spec that decides the bytes of a run. The rest may change when a run is resumed."""
    others = dict.fromkeys(("budget", "cluster", "sweep", "train"), True)
    content: dict[str, Any] = json.loads(spec.model_dump_json(exclude={**others, "model": spec.model.byte_preserving}))
    if spec.cluster.gpus_per_actor == 0:  # the number of CPU threads decides the last bits of sums
        content["cluster"] = {"gpus_per_actor": 0.0, "cpus_per_actor": spec.cluster.cpus_per_actor}
    return content


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Return a line `place: old -> new` for each value that differs, and one for keys in another order."""
    if isinstance(old, dict) and isinstance(new, dict):
        if list(old) != list(new) and old == new:
            return [f"{place}: the order {', '.join(old)} -> {', '.join(new)}"]
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
        ]
    return [] if old == new else [f"{place}: {json.dumps(old)} -> {json.dumps(new)}"]


def _parse(text: str, place: str) -> Any:
    """Parse YAML. Raises SpecError with the line but not its content, which may be a secret."""
    try:
        return _Loader(text).get_single_data()  # like yaml.safe_load with another loader
    except _DuplicateKey as error:
        raise SpecError(f"{place}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SpecError(f"{place}: not YAML{line}: {error.problem}") from None
    # PyYAML also raises whatever the wrong value of a tag leads to.
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:100]
        raise SpecError(f"{place}: not YAML: {type(error).__name__}: {reason}") from None


def _json(content: Any, place: str) -> str:
    """Encode as JSON. Raises SpecError also where aliases make the content endless or much too long."""
    parts, length = list[str](), 0
    try:
        for part in json.JSONEncoder(allow_nan=False).iterencode(content):
            parts.append(part)
            length += len(part)
            if length > _LONGEST:
                raise SpecError(f"{place}: is more than {_LONGEST >> 20} MiB, its aliases written out; make it smaller")
    except (TypeError, ValueError) as error:
        raise SpecError(f"{place}: a value is neither text, number, list nor mapping: {error}") from None
    except RecursionError:
        raise SpecError(f"{place}: is nested too deeply") from None
    return "".join(parts)


def _place(content: Any, key: str, override: str) -> Any:
    if isinstance(content, dict):
        return key
    if key.isdecimal() and len(key) < _DIGITS and int(key) < len(content):
        return int(key)
    raise SpecError(f"--set {override}: {key} is no place in a list of {len(content)}; they count from 0")


def _override(content: Any, override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise SpecError(f"--set {override}: write it as key.path=value, like --set model.steps=8")
    *above, last = path.split(".")
    for key in above:
        place = _place(content, key, override)
        below = content.setdefault(place, {}) if isinstance(content, dict) else content[place]
        if not isinstance(below, dict | list):
            raise SpecError(f"--set {override}: {key} holds a value, and no keys below it")
        content = below
    content[_place(content, last, override)] = _parse(text, f"--set {path}: its value")


def _explain(model: type[BaseModel], detail: ErrorDetails) -> str:
    """Describe an error in one line: field, value and what is allowed; for an unknown key the nearest known one."""
    if detail["type"] == "extra_forbidden":
        return _unknown(model, detail["loc"])
    location, _ = _follow(model, detail["loc"])
    place, context = _dotted(location) or "spec", detail.get("ctx", {})
    if detail["type"] == "missing":
        return f"{place}: is required, and missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{place}: {message}"
    if detail["type"].startswith("union_tag"):
        key = context["discriminator"].strip("'_()")
        if "tag" not in context:
            return f"{place}.{key}: is required, and missing"
        return f"{place}.{key}: {json.dumps(context['tag'])} is refused; it is one of {context['expected_tags']}"
    value = json.dumps(detail["input"], default=str)
    return f"{place}: {value if len(value) <= 80 else value[:77] + '...'} is refused; {message[0].lower()}{message[1:]}"


def _unknown(model: type[BaseModel], location: Sequence[int | str]) -> str:
    above, parent = _follow(model, location[:-1])
    key, known = str(location[-1]), [name for model in _models_in(parent)[:1] for name in model.model_fields]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"{_dotted([*above, key])}: unknown key; {advice}"


def _dotted(location: Sequence[str]) -> str:
    return ".".join(part if part.isprintable() else json.dumps(part) for part in location)


def _follow(model: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], Any]:
    """Return the location in terms of the file, without branches of unions, and the type at that place."""
    current: Any = model
    place = list[str]()
    for part in location:
        models = _models_in(current)
        if isinstance(part, int):  # a position in a list
            place.append(str(part))
        elif get_origin(current) is dict:
            place.append(part)
            current = get_args(current)[1]
        elif isinstance(current, PluginFamily) and part in current.known:
            current = current.known[part]
        elif branches := [branch for branch in models if len(models) > 1 and part in _tags(branch)]:
            current = branches[0]
        elif part.removeprefix("constrained-") not in ("int", "str") and "[" not in part:
            place.append(part)
            field = models[0].model_fields.get(part) if models else None
            current = _annotation(field) if field else None
    return place, current


def _tags(model: type[BaseModel]) -> set[str]:
    """Return the value of each field that allows only one: it identifies a model in a union."""
    allowed = [get_args(field.annotation) for field in model.model_fields.values()]
    return {values[0] for values in allowed if len(values) == 1 and isinstance(values[0], str)}


def _annotation(field: FieldInfo) -> Any:
    """Return the field's type, or the plug-in family whose settings it holds."""
    parts = [*field.metadata, *_parts(field.annotation)]
    return next((part for part in parts if isinstance(part, PluginFamily)), field.annotation)


def _parts(annotation: Any) -> list[Any]:
    return [inner for part in get_args(annotation) for inner in (part, *_parts(part))]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, PluginFamily):
        return list(annotation.known.values())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
