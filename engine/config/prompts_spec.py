"""The wording of prompts: templates and attributes, clustered attributes, prompt banks, and mixtures of them."""

import re
from collections.abc import Set
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from engine.config.strict import Count, Strict

PLACEHOLDER = re.compile(r"(?<!\{)\{([a-z_][a-z0-9_]*)\}(?!\})")
"""In a template: `{class}`, `{attributes}` or the name of an attribute. Any other brace is an ordinary character, those
of `{{word}}` as well."""

_Attributes = dict[str, Annotated[tuple[str, ...], Field(min_length=1)]]


class ClustersSpec(Strict):
    """Attributes that real images of a class were described with, some of them in each prompt, all equally often."""

    path: str
    """JSON file `{class: [attribute, ...]}`; `python -m jobs attributes` writes one."""
    per_prompt: Count = 2
    """Attributes of a prompt, joined by commas where the template says `{attributes}`; never two of one kind, such as
    two colours or two counts."""


class Wording(Strict):
    """One way to word prompts: templates with attributes, or a bank of prompts that a model wrote before."""

    templates: tuple[str, ...] = Field(("a photo of a {class}",), min_length=1)
    """Texts with placeholders; the images of a class rotate through them."""
    attributes: _Attributes = {}
    """Values of each attribute; a class's images cover templates, values and pairs of them evenly."""
    clusters: ClustersSpec | None = None
    """What `{attributes}` becomes."""
    bank: str | None = None
    """Parquet file that `python -m jobs prompts` or `captions` wrote, instead of templates."""

    @property
    def worded(self) -> dict[str, Any]:
        """What differs from the defaults; a resolved spec holds those as well."""
        return {
            name: value
            for name, field in Wording.model_fields.items()
            if (value := getattr(self, name)) != field.get_default()
        }

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.bank is not None and self.worded.keys() - {"bank"}:
            raise ValueError("bank holds whole prompts: give it without templates, attributes and clusters")
        if taken := {"class", "attributes"} & self.attributes.keys():
            raise ValueError(f"an attribute cannot be called {min(taken)}: the placeholder has a meaning of its own")
        return self


class Strategy(Wording):
    """One of several ways to word the prompts of a run, by its share of every class's images."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Recorded in every sample, so that strategies can be compared."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """Weight among the strategies."""


class ClassPrompts(Strict):
    """What differs for one class."""

    name: str | None = None
    """What `{class}` becomes; the class's own name if none. Where that means several things, say which: `crane (large
    long-necked wading bird)`."""
    templates: tuple[str, ...] | None = Field(None, min_length=1)
    """Instead of the templates for all classes."""
    attributes: dict[str, tuple[str, ...]] = {}
    """Instead of the values of these attributes for all classes."""
    negative: str | None = None
    """Instead of the negative prompt for all classes."""


class PromptsSpec(Wording):
    """How the run's prompts are worded: in one way, or in the ways of `mix`."""

    mix: tuple[Strategy, ...] = ()
    """Several ways side by side; then templates, attributes, clusters and bank stand in each of them."""
    negative: str = ""
    """Negative prompt."""
    classes: dict[str, ClassPrompts] = {}
    """Exceptions by class name."""

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The ways of the mixture; a single way is called `bank`, `clusters` or `templates`."""
        if self.mix:
            return self.mix
        name = "bank" if self.bank is not None else "clusters" if self.clusters is not None else "templates"
        return (Strategy(name=name, **self.worded),)

    @model_validator(mode="after")
    def _mixed_or_not(self) -> Self:
        if self.mix and self.worded:
            raise ValueError(f"with mix, {' and '.join(sorted(self.worded))} belong into each of its strategies")
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
    def _check(place: str, wording: Wording, templates: tuple[str, ...], known: Set[str], own: Set[str]) -> None:
        used = {found for template in templates for found in PLACEHOLDER.findall(template)} - {"class"}
        if "attributes" in used and wording.clusters is None:
            raise ValueError(f"{place} use {{attributes}}, which takes clusters; name single attributes otherwise")
        if wording.clusters is not None and "attributes" not in used:
            raise ValueError(f"no template of {place} uses {{attributes}}, so clusters would be unused")
        used -= {"attributes"}
        if used - known:
            raise ValueError(f"{place} use {sorted(used - known)}, but the attributes are {sorted(known)}")
        if own - used:
            raise ValueError(f"no template of {place} uses the attributes {sorted(own - used)}")
