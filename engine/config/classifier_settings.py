"""Settings that every classifier has."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator

from engine.config.strict import Strict
from engine.plugins import PluginFamily


class ClassifierSettings(Strict):
    """The settings of a network that `train` trains. `kind` is a Literal in each and tells them apart."""

    kind: str

    @property
    def labels_pixels(self) -> bool:
        """Return whether the network predicts a class for every pixel, and so learns from masks."""
        return False

    @property
    def has_pretrained_weights(self) -> bool:
        """Return whether `load_pretrained` finds weights."""
        return False

    def load_pretrained(self) -> Mapping[str, Any]:
        """Return published ImageNet weights as tensors by parameter name. Raises ModelError if they are unreachable."""
        raise NotImplementedError(f"{self.kind} has no pretrained weights")


CLASSIFIERS = PluginFamily[ClassifierSettings](
    "classifier", key="kind", folder="engine.training.classifier.models", group="shardmill.classifiers"
)
"""Their factories take (settings, (height, width), number of classes, first weights by name or None) and return a torch
module. The module takes scaled pixels, float (batch, 3, height, width), and returns logits: (batch, classes), or
(batch, classes, height, width) if `labels_pixels`. The caller loads the first weights."""


def _from_name(value: object) -> object:
    if not isinstance(value, str):
        return value
    known = CLASSIFIERS.known
    if value not in known:
        near = get_close_matches(value, known)
        advice = f"did you mean {', '.join(near)}? Known" if near else "known"
        raise ValueError(f"there is no {value!r}; {advice} are {', '.join(known)}")
    return {"kind": value}


Classifier = Annotated[ClassifierSettings, CLASSIFIERS, BeforeValidator(_from_name)]
"""A field of a spec: a mapping with a `kind`, or the kind alone."""
