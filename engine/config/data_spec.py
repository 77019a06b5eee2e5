"""The real data of a spec."""

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.config.palette import Palette
from engine.config.strict import Count, Share, Strict


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


class MasksSpec(Strict):
    """The class of every pixel of the real images: for each a PNG in the palette's colours, or a grey one of class
    indices, of the image's size or a whole multiple of it."""

    palette: Palette
    """Of digits: what is behind the strokes, then the ten digits; a stroke is of its digit's class."""
    path: str | None = None
    """Of imagefolder alone, whose masks are PATH/<class>/<name>.png. Webdataset has them in its tars, as .mask.png."""
    held_out: str | None = None
    """The same for the images of `data.held_out`."""


class DataSpec(Strict):
    """The real images, and how they are divided."""

    source: Literal["digits", "imagefolder", "parquet", "cifar10", "webdataset"]
    """digits: scikit-learn's handwritten digits, which need no file. imagefolder: PATH/<class>/<image>. parquet: one
    file or a folder of them, a struct column {bytes, path} and an integer label. cifar10: torchvision's. webdataset:
    tars."""
    path: str | None = None
    """File or folder of the images; none for digits."""
    held_out: str | None = None
    """The data set's own test set, of the same form: validation and test come from it alone, world and train from
    `path` alone. For cifar10 this is always so, and is not said here."""
    image_column: str = "img"
    """Of parquet: the column of the encoded image."""
    label_column: str = "label"
    """Of parquet: the column of the class index."""
    synthetic: bool = False
    """Of webdataset: take synthetic images for real ones, on purpose, to train a generator on another one's images.
    What it makes is marked by one generation more. Nothing but `train-generator` takes such data."""
    classes: tuple[str, ...] | None = Field(None, min_length=2)
    """Keep only these, labelled in this order; all if none."""
    masks: MasksSpec | None = None
    """For dense labels: of digits, imagefolder and webdataset."""
    splits: SplitSpec = SplitSpec()
    """Shares of the four splits. With a held-out set, world:train and validation:test divide each part."""
    train_per_class: Count | None = None
    """Keep only so many images of each class in train: a shortage, made on purpose."""
    train_share: dict[str, Share] = {}
    """Keep only such a share of the train images of a class, by its name, all of others: an imbalance, made on
    purpose."""

    @model_validator(mode="after")
    def _has_a_path(self) -> Self:
        if (self.source == "digits") != (self.path is None):
            raise ValueError("source 'digits' takes no path" if self.path else f"source {self.source!r} needs a path")
        if self.synthetic and self.source != "webdataset":
            raise ValueError("synthetic images are known as such in shards alone: give source webdataset")
        if self.held_out is not None and self.source in ("digits", "cifar10"):
            raise ValueError(f"source {self.source!r} takes no held_out")
        return self

    @model_validator(mode="after")
    def _has_its_masks(self) -> Self:
        masks, files = self.masks, self.source == "imagefolder"
        if masks is None:
            return self
        if self.source in ("parquet", "cifar10"):
            raise ValueError(f"source {self.source!r} has no masks: leave masks out")
        for key, images in (("path", self.path), ("held_out", self.held_out)):
            if (getattr(masks, key) is not None) != (files and images is not None):
                raise ValueError(
                    f"masks.{key} is the folder of masks beside {key} of an imagefolder: "
                    + ("give it" if files and images is not None else "leave it out")
                )
        return self
