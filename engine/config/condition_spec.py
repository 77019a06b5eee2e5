"""What a generator is given besides the prompt: an image, its edges, or a layout whose mask is the label."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.palette import Palette
from engine.config.strict import Count, Share, Strict


class EdgesSpec(Strict):
    """Canny's edge detector (Canny, "A Computational Approach to Edge Detection", 1986) on the channel of the steepest
    gradient, which is how the images were prepared that the usual ControlNets learned from."""

    low: Annotated[int, Field(ge=0, le=1000)] = 100
    """A pixel with a gradient above `low` is an edge where it touches one above `high`."""
    high: Annotated[int, Field(ge=1, le=1000)] = 200

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is more than high {self.high}")
        return self


class RealCondition(Strict):
    """Real images of the train split, each slot one of its own class, all equally often. A prompt that describes an
    image (see `python -m jobs captions`) comes with that image."""

    source: Literal["real"]
    edges: EdgesSpec | None = None
    """Give the generator the edges of the image instead of the image."""


class LayoutCondition(Strict):
    """Layouts from a folder of PATH/<class>/*.png, from a flat one where there is one class, or from shards with masks.

    A layout is a PNG in the palette's colours, or a grey one of class indices."""

    source: Literal["layouts"]
    path: str
    palette: Palette
    """Every colour or index of a layout must be in it."""


class ShapesCondition(Strict):
    """Layouts that are drawn: shapes of the slot's class on a background, from the slot's seed alone."""

    source: Literal["shapes"]
    palette: Palette
    """Holds the background and every class of the run."""
    background: str
    """The palette's name of what is behind the shapes."""
    most: Count = 3
    """Shapes in a layout, at most; at least one."""

    @model_validator(mode="after")
    def _background_is_known(self) -> Self:
        if self.background not in self.palette:
            raise ValueError(f"background {self.background!r} is not in the palette: {', '.join(self.palette)}")
        return self


class WarpSpec(Strict):
    """How a layout is changed, smoothly: drawn anew for each, evenly up to each of these bounds. What comes in from
    outside is the mirror of what lies at the edge."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Degrees to either side."""
    scale: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """By a factor of 1 - scale to 1 + scale."""
    shift: Share = 0.05
    """Along each side, of its length."""
    bend: Annotated[float, Field(ge=0, le=0.25)] = 0.03
    """How far single places move besides, of the sides: elastic distortion (Simard et al., "Best Practices for
    Convolutional Neural Networks", 2003), by a grid of 4x4 places with a cubic between them."""


class MasksCondition(Strict):
    """The masks of the train split's images, changed; each slot one of its own class, all equally often. Colours are
    those of `data.masks`."""

    source: Literal["masks"]
    flip: bool = False
    """Mirror them, half of the time."""
    warp: WarpSpec = WarpSpec()


ConditionSpec = Annotated[
    RealCondition | LayoutCondition | ShapesCondition | MasksCondition, Field(discriminator="source")
]
