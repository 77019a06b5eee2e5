"""Conditions that a generator follows besides the prompt: images, their edges, and layouts whose masks are labels."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.data_spec import Palette
from engine.config.strict import Count, Share, Strict


class EdgesSpec(Strict):
    """Canny's edge detector (Canny, "A Computational Approach to Edge Detection", 1986), applied to the channel with
    the steepest gradient. The usual ControlNets were trained on images that were prepared this way."""

    low: Annotated[int, Field(ge=0, le=1000)] = 100
    """A pixel with a gradient above `low` is an edge if it touches one above `high`."""
    high: Annotated[int, Field(ge=1, le=1000)] = 200

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is more than high {self.high}")
        return self


class RealCondition(Strict):
    """Real images of the train split. A slot gets the image that its prompt describes, if it describes one, or else an
    image of its own class; all images are used equally often."""

    source: Literal["real"]
    edges: EdgesSpec | None = None
    """Give the generator the edges of the image instead of the image."""


class LayoutCondition(Strict):
    """Layouts from PATH/<class>/*.png, from PATH/*.png if there is one class, or from shards with masks: PNGs in the
    palette's colours, or grey ones of class indices."""

    source: Literal["layouts"]
    path: str
    palette: Palette
    """Must contain every colour or index of the layouts."""


class ShapesCondition(Strict):
    """Drawn layouts: shapes of the slot's class on a background, determined by the slot's seed alone."""

    source: Literal["shapes"]
    palette: Palette
    """Contains the background and every class of the run."""
    background: str
    """The palette's name of the background."""
    most: Count = 3
    """Most shapes in a layout; the fewest are one."""

    @model_validator(mode="after")
    def _check_background(self) -> Self:
        if self.background not in self.palette:
            raise ValueError(f"background {self.background!r} is not in the palette: {', '.join(self.palette)}")
        return self


class WarpSpec(Strict):
    """A smooth random change of a layout. Each amount is drawn uniformly up to its bound, separately for each layout.
    Areas that come in from outside are filled with the mirror image of the border."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Degrees to either side."""
    scale: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """By a factor of 1 - scale to 1 + scale."""
    shift: Share = 0.05
    """Along each side, of its length."""
    bend: Annotated[float, Field(ge=0, le=0.25)] = 0.03
    """Further movement of single places, as a share of the sides: elastic distortion (Simard et al., "Best Practices
    for Convolutional Neural Networks", 2003) by a grid of 4x4 points with cubic interpolation."""


class MasksCondition(Strict):
    """The masks of the train split's images, changed. A slot gets a mask of its own class; all masks are used equally
    often. Colours are those of `data.masks`."""

    source: Literal["masks"]
    flip: bool = False
    """Mirror half of the masks."""
    warp: WarpSpec = WarpSpec()


ConditionSpec = Annotated[
    RealCondition | LayoutCondition | ShapesCondition | MasksCondition, Field(discriminator="source")
]
