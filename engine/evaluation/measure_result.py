"""The result of `measure`, RUN/measures.json: a table by class and prompt strategy, outliers and copies."""

from typing import ClassVar

from engine.config.strict import Strict
from engine.run.stored_result import StoredResult

ALL_CLASSES = "all classes"
"""`class_name` of a row over all classes."""
REAL = "real (world)"
"""`strategy` of rows about real images of the world split, which are measured like synthetic ones."""


class EncoderInfo(Strict):
    """The encoder whose features were compared."""

    name: str
    """`offline`, a hub id or a folder."""
    revision: str
    """Commit of a hub model; "" for others."""
    description: str
    """What it is, and what a margin means with it, as a phrase."""
    knows_classes: bool
    """Whether it scores images by class, so that there are margins and outliers."""

    @property
    def short_name(self) -> str:
        """The name without owner or parent folders."""
        return self.name.rstrip("/").rpartition("/")[2]


class ReferenceSplit(Strict):
    """The real images that synthetic images are compared with."""

    split: str
    images: int


class Column(Strict):
    """A column of the table."""

    name: str
    """Key in the `values` of a row."""
    title: str
    """Heading, like "FD (offline)"."""
    decimals: int
    """Digits after the point in print; 0 for counts."""
    standard_error: str | None = None
    """Key in `values` of the standard error of this column; None if it has none."""


class MeasureRow(Strict):
    """The images of one prompt strategy (or REAL) of one class, or of ALL_CLASSES."""

    strategy: str
    class_name: str
    images: int
    """Images that were encoded."""
    compared: int
    """Images of these that were compared with real ones: equally many of a class for every strategy."""
    real: int
    """Real images that they were compared with."""
    values: dict[str, int | float | None]
    """Values by column name; None where the images are too few."""


class OutlierImage(Strict):
    """A synthetic image that fits its class worse than 99 of 100 real images of the class."""

    key: str
    class_name: str
    strategy: str
    margin: float
    resembles: str
    """The best other class."""


class FeatureNeighbour(Strict):
    """The key of a real train image that is near a synthetic one by features."""

    real: str
    distance: float
    """Cosine distance, 0 to 2."""


class PixelMatch(Strict):
    """The keys of a synthetic image and of the real one that is most like it by pixels."""

    key: str
    class_name: str
    real: str
    mirrored: bool
    """Whether the real image's mirror image is the match."""
    distance_ratio: float
    """Distance of their thumbnails as a share of the usual distance of real images to each other."""
    is_copy: bool
    feature_neighbours: tuple[FeatureNeighbour, ...] = ()
    """Nearest train images by features, nearest first; empty where they were not searched."""


class CopySearch(Strict):
    """Number of synthetic images that are copies, the real images that were searched, and the clearest copies."""

    count: int
    real_images: int
    listed: tuple[PixelMatch, ...]


class MeasureResult(StoredResult):
    """How near the synthetic images of each class and prompt strategy are to real ones."""

    FILE: ClassVar[str] = "measures.json"
    REMEDY: ClassVar[str] = "run measure again"

    encoder: EncoderInfo
    reference: ReferenceSplit
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    """Columns of the registered measures, in print order."""
    rows: tuple[MeasureRow, ...]
    """First ALL_CLASSES, then class by class; within, strategies in the order of the spec, REAL last."""
    outliers: tuple[OutlierImage, ...]
    """Outliers of the lowest margins, lowest first."""
    copies: CopySearch
    closest: tuple[PixelMatch, ...]
    """A few images of each class that are most like a real one by pixels, with their feature neighbours."""
    fingerprint: str
    """Digest of all shards, the encoder and the limit of images."""
