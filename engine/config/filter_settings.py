"""Settings that every filter has."""

from engine.config.strict import Strict
from engine.plugins import PluginFamily


class FilterSettings(Strict):
    """The settings of a filter. `name` is a Literal in each and tells them apart."""

    name: str


FILTERS = PluginFamily[FilterSettings]("filter", key="name", folder="engine.filters.kinds", group="shardmill.filters")
"""Their factories take (settings, ClusterSpec); a filter with a model loads it onto this process's device."""
