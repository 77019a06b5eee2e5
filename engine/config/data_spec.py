"""The real data of a spec: settings that every source has, and the shares of the splits."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from engine.config.strict import Count, Share, Strict
from engine.plugins import PluginFamily

_Channel = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[_Channel, _Channel, _Channel]


def _distinct(palette: dict[str, Colour]) -> dict[str, Colour]:
    names: dict[Colour, str] = {}
    for name, colour in palette.items():
        if colour in names:
            raise ValueError(f"{names[colour]!r} and {name!r} have the same colour {list(colour)}; change one")
        names[colour] = name
    return palette


Palette = Annotated[dict[str, Colour], Field(min_length=1, max_length=255), AfterValidator(_distinct)]
"""Colour of each mask class. Class indices of masks follow this order."""


class SplitSpec(Strict):
    """Shares of the real images of every class; they add up to 1."""

    world: Share = 0.5
    """What a generator may learn from. No classifier is trained or judged on it, but for the oracle."""
    train: Share = 0.15
    """What a classifier is trained on, mixed with synthetic images."""
    validation: Share = 0.2
    """What every accuracy is measured on, and alpha* is chosen on."""
    test: Share = 0.15
    """Looked at once, to confirm what was chosen on the validation split."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = self.world + self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"world + train + validation + test must be 1, not {total:g}")
        return self


class MaskPalette(Strict):
    """The classes that the pixels of masks have."""

    palette: Palette
    """Colour of each class, in the order of class indices."""


class SourceSettings(Strict):
    """Settings that every source of real images has. `source` is a Literal in each and tells them apart."""

    source: str
    classes: tuple[str, ...] | None = Field(None, min_length=2)
    """Keep only these, labelled in this order; all if none."""
    splits: SplitSpec = SplitSpec()
    """Shares of the four splits. With a held-out set, world:train and validation:test divide each part."""
    train_per_class: Count | None = None
    """Keep only so many images of each class in train: a shortage, made on purpose."""
    train_share: dict[str, Share] = {}
    """Keep only such a share of the train images of a class, by its name: an imbalance, made on purpose."""

    @property
    def mask_palette(self) -> Palette | None:
        """Colours of the classes in the images' masks; None without masks."""
        return None

    @property
    def allows_synthetic(self) -> bool:
        """Return whether images that are marked as synthetic count as real ones here."""
        return False


class MaskedSourceSettings(SourceSettings):
    """Settings of a source whose images may have masks."""

    masks: MaskPalette | None = None
    """Dense labels: the class of every pixel."""

    @property
    def mask_palette(self) -> Palette | None:
        """Colours of the classes in the masks."""
        return None if self.masks is None else self.masks.palette


class FileSourceSettings(SourceSettings):
    """Settings of a source that reads a file or a folder."""

    path: str
    """File or folder of the images."""
    held_out: str | None = None
    """The data set's own test set, of the same form: validation and test then come from it alone."""


SOURCES = PluginFamily[SourceSettings]("source", key="source", folder="engine.data.sources", group="shardmill.sources")
"""Their factories take (settings) and return a `RealSet`. They read the labels, and each image when it is asked for."""

DataSpec = Annotated[SourceSettings, SOURCES]
"""The real images, and how they are divided."""
