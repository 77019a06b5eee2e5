"""Prompts: templates and attributes, clustered attributes, prompt banks, and mixtures of them."""

import re
from collections.abc import Set
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from engine.config.strict import Count, Strict

PLACEHOLDER = re.compile(r"(?<!\{)\{([a-z_][a-z0-9_]*)\}(?!\})")
"""A placeholder: `{class}`, `{attributes}` or the name of an attribute. Any other brace is an ordinary character."""

_Attributes = dict[str, Annotated[tuple[str, ...], Field(min_length=1)]]


class ClustersSpec(Strict):
    """Attributes of real images of a class. Each prompt gets a few of them, and all are used equally often."""

    path: str
    """JSON file `{class: [attribute, ...]}`; `python -m jobs attributes` writes one."""
    per_prompt: Count = 2
    """Attributes in a prompt, joined by commas in place of `{attributes}`; never two of a kind, such as colours."""


class TemplatesOrBank(Strict):
    """The text of prompts: templates with attributes, or a bank of prompts that an earlier job wrote."""

    templates: tuple[str, ...] = Field(("a photo of a {class}",), min_length=1)
    """Texts with placeholders. The images of a class use them in turn."""
    attributes: _Attributes = {}
    """Values of each attribute. The images of a class cover templates, values and pairs of these evenly."""
    clusters: ClustersSpec | None = None
    """The attributes that replace `{attributes}`."""
    bank: str | None = None
    """Parquet file that `python -m jobs prompts` or `captions` wrote, instead of templates."""

    @property
    def changed(self) -> dict[str, Any]:
        """The fields of the text that differ from their defaults."""
        return {
            name: value
            for name, field in TemplatesOrBank.model_fields.items()
            if (value := getattr(self, name)) != field.get_default()
        }

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.bank is not None and self.changed.keys() - {"bank"}:
            raise ValueError("bank holds whole prompts: give it without templates, attributes and clusters")
        if taken := {"class", "attributes"} & self.attributes.keys():
            raise ValueError(f"an attribute cannot be called {min(taken)}: the placeholder has a meaning of its own")
        return self


class Strategy(TemplatesOrBank):
    """A prompt strategy: one of several texts, with its share of the images of every class."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Name of the strategy; every sample records it, so that strategies can be compared."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """Weight among the strategies."""


class ClassPrompts(Strict):
    """Prompts of one class, where they differ from the others."""

    name: str | None = None
    """Text that replaces `{class}`, for a name with several meanings: `crane (wading bird)`. None: the class name."""
    templates: tuple[str, ...] | None = Field(None, min_length=1)
    """Templates, instead of those for all classes."""
    attributes: dict[str, tuple[str, ...]] = {}
    """Values of attributes, instead of those for all classes."""
    negative: str | None = None
    """Negative prompt, instead of that for all classes."""


class PromptsSpec(TemplatesOrBank):
    """The prompts of a run: one text, or the strategies of `mix`."""

    mix: tuple[Strategy, ...] = ()
    """Several strategies. Each has its own templates, attributes, clusters or bank."""
    negative: str = ""
    """Negative prompt."""
    classes: dict[str, ClassPrompts] = {}
    """Prompts that differ for single classes, by class name."""

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The strategies of the mixture. A single one is called `bank`, `clusters` or `templates`."""
        if self.mix:
            return self.mix
        name = "bank" if self.bank is not None else "clusters" if self.clusters is not None else "templates"
        return (Strategy(name=name, **self.changed),)

    @model_validator(mode="after")
    def _mixed_or_not(self) -> Self:
        if self.mix and self.changed:
            raise ValueError(f"with mix, {' and '.join(sorted(self.changed))} belong in each of its strategies")
        names = [strategy.name for strategy in self.mix]
        if len(set(names)) < len(names):
            raise ValueError("mix holds a name twice")
        if self.mix and any(special.templates or special.attributes for special in self.classes.values()):
            raise ValueError("with mix, a class has only a name and a negative prompt of its own")
        return self

    @model_validator(mode="after")
    def _placeholders_fit(self) -> Self:
        for strategy in self.strategies:
            place = f"mix.{strategy.name}: templates" if self.mix else "templates"
            if strategy.bank is None:
                self._check(place, strategy, strategy.templates, strategy.attributes.keys(), strategy.attributes.keys())
        for name, special in self.classes.items():
            if special.templates is None and not special.attributes:
                continue
            for strategy in self.strategies:
                known = {**strategy.attributes, **special.attributes}.keys()
                own = special.attributes.keys()
                self._check(f"classes.{name}", strategy, special.templates or strategy.templates, known, own)
        return self

    @staticmethod
    def _check(place: str, text: TemplatesOrBank, templates: tuple[str, ...], known: Set[str], own: Set[str]) -> None:
        used = {name for template in templates for name in PLACEHOLDER.findall(template)} - {"class"}
        if "attributes" in used and text.clusters is None:
            raise ValueError(f"{place} use {{attributes}}, which needs clusters; otherwise use the names of attributes")
        if text.clusters is not None and "attributes" not in used:
            raise ValueError(f"no template of {place} uses {{attributes}}, so clusters would be unused")
        used -= {"attributes"}
        if used - known:
            raise ValueError(f"{place} use {sorted(used - known)}, but the attributes are {sorted(known)}")
        if own - used:
            raise ValueError(f"no template of {place} uses the attributes {sorted(own - used)}")
