"""The one plug-in mechanism: generators, sources, filters, measures and classifiers are found through it.

A plug-in is one file with a settings class, a factory and one registration:

    class SharpSettings(FilterSettings):
        name: Literal["sharp"]

    FILTERS.register(SharpSettings, SharpFilter)

The settings class names the plug-in: the field that the family calls its key is a Literal of its name, or of the names
of several models that one file makes. A family finds its plug-ins in a folder of this package, and in other
distributions by an entry point that names such a file.
"""

import json
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from engine.errors import SpecError
from shards.storage.retries import first_line

Settings = TypeVar("Settings", bound=BaseModel)


class PluginFamily(Generic[Settings]):
    """The plug-ins of one kind, by name. Also the pydantic annotation of a field that holds the settings of one.

    what:    the kind in words, for messages.
    key:     field of the settings that holds the plug-in's name.
    folder:  package whose modules are the plug-ins that ship with Shardmill.
    group:   entry-point group of other distributions, whose entries name a module.
    """

    def __init__(self, what: str, *, key: str, folder: str, group: str) -> None:
        self.what, self.key = what, key
        self._folder, self._group = folder, group
        self._plugins: dict[str, tuple[type[Settings], Callable[..., Any]]] = {}
        self._defaults: dict[str, type[Settings]] = {}
        self._discovered = False

    def register(self, settings: type[Settings], factory: Callable[..., Any], *, default: bool = False) -> None:
        """Add a plug-in; a spec that names none uses the default one. Raises ValueError where the name is taken."""
        names = get_args(settings.model_fields[self.key].annotation)
        for name in names:
            other = self._plugins.get(name)
            # An actor that unpickles settings imports their module under the same name: that is the same plug-in.
            if other is not None and other[0].__qualname__ != settings.__qualname__:
                modules = f"{other[0].__module__} and {settings.__module__}"
                raise ValueError(f"{self.what} {name!r} is registered by {modules}")
            self._plugins[name] = settings, factory
        if default:
            self._defaults[names[0]] = settings

    @property
    def known(self) -> Mapping[str, type[Settings]]:
        """The settings class of every plug-in by name, sorted."""
        self._discover()
        return {name: self._plugins[name][0] for name in sorted(self._plugins)}

    def default_settings(self) -> tuple[Settings, ...]:
        """Return the settings of the plug-ins that are used where a spec names none."""
        self._discover()
        return tuple(settings(**{self.key: name}) for name, settings in self._defaults.items())

    def make(self, settings: Settings, *arguments: Any) -> Any:
        """Call the factory of the plug-in that these settings configure."""
        self._discover()
        return self._plugins[getattr(settings, self.key)][1](settings, *arguments)

    def parse(self, value: Any) -> Settings:
        """Validate the settings of a plug-in.

        A mapping without a name belongs to the family's default plug-in. Raises ValidationError, whose locations begin
        with the plug-in's name as those of pydantic's tagged unions do.
        """
        known = self.known
        if not isinstance(value, Mapping):
            if type(value) in known.values():
                return value  # type: ignore[no-any-return]
            raise self._error("model_type", value, class_name=self.what)
        name = value.get(self.key, next(iter(self._defaults), None))
        if name is None:
            raise self._error("union_tag_not_found", value, discriminator=self.key)
        if not isinstance(name, str) or name not in known:
            names = ", ".join(repr(other) for other in known)
            raise self._error("union_tag_invalid", value, discriminator=self.key, tag=str(name), expected_tags=names)
        try:
            # By way of JSON, where strict types still let a list be a tuple.
            return known[name].model_validate_json(json.dumps(value))
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title, [_detail({**detail, "loc": (name, *detail["loc"])}) for detail in error.errors()]
            ) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate by `parse`, and write all fields of the settings, not those of their base class alone."""
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        )

    def _error(self, type_: str, value: Any, **context: str) -> ValidationError:
        return ValidationError.from_exception_data(self.what, [{"type": type_, "input": value, "ctx": dict(context)}])

    def _discover(self) -> None:
        """Import every plug-in once."""
        if self._discovered:
            return
        for module in pkgutil.iter_modules(import_module(self._folder).__path__, f"{self._folder}."):
            import_module(module.name)
        for entry in entry_points(group=self._group):
            try:
                entry.load()
            except Exception as error:  # another distribution's code may raise anything
                origin = f"{self.what} {entry.name!r} of {entry.dist.name if entry.dist else entry.value}"
                raise SpecError(f"{origin}: cannot be imported: {first_line(error)}; repair or uninstall it") from error
        self._discovered = True


def _detail(error: Mapping[str, Any]) -> InitErrorDetails:
    kept = {key: error[key] for key in ("type", "loc", "input", "ctx") if key in error}
    return InitErrorDetails(**kept)  # type: ignore[no-any-return, typeddict-item]


def _dump(settings: BaseModel, info: Any) -> dict[str, Any]:
    return settings.model_dump(mode=info.mode, include=info.include, exclude=info.exclude)
