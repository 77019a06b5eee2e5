"""What `measure` found, read back from measures.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import RunMismatch
from engine.evaluation.measure_rows import ALL, REAL
from shards.storage.retries import FileMissing
from shards.storage.store import Store

_FILE = "measures.json"
_COLUMNS = (
    "strategy",
    "class_name",
    "images",
    "compared",
    "real",
    "fid",
    "kid",
    "manifold",
    "margin",
    "outliers",
    "copies",
)


@dataclass(frozen=True)
class Match:
    """A synthetic image and the real one that is most like it by pixels.

    ratio:   their distance as a share of the usual one of real images to each other; copy: whether that makes a copy.
    nearest: of the train split by features, and the cosine distance to it, 0 to 2; None where that was not looked for.
    """

    key: str
    class_name: str
    real: str
    mirrored: bool
    ratio: float
    copy: bool
    nearest: tuple[str, float] | None


@dataclass(frozen=True)
class Measured:
    """encoder: what saw the images, in words. reference: the split that they were compared with, and its images.

    rows:    for each strategy and class, see `measures.rows.Row`.
    copies:  how many there are, and among how many real images. matches: the closest first, each synthetic image once.
    """

    encoder: str
    reference: tuple[str, int]
    rows: Sequence[Mapping[str, Any]]
    copies: tuple[int, int]
    matches: Sequence[Match]

    @property
    def strategies(self) -> list[Mapping[str, Any]]:
        """The row of all classes for each strategy, and for real images."""
        return [row for row in self.rows if row["class_name"] == ALL]

    @property
    def judged(self) -> bool:
        """Whether the encoder knows classes, so that there are margins and outliers."""
        return any(row["margin"] is not None for row in self.rows)

    @property
    def classes(self) -> list[Mapping[str, Any]]:
        """The rows of single classes."""
        return [row for row in self.rows if row["class_name"] != ALL]

    def kids(self) -> dict[str, float]:
        """KID of each class, the mean over strategies by their shares of its images. FID takes more images than a class
        often has, and depends on how many there are; KID does not."""
        sums: dict[str, list[float]] = {}
        for row in self.classes:
            if row["strategy"] != REAL and row["kid"] is not None:
                total = sums.setdefault(row["class_name"], [0.0, 0.0])
                total[0] += row["images"] * row["kid"]["mean"]
                total[1] += row["images"]
        return {name: weighted / images for name, (weighted, images) in sums.items()}


def read_measured(store: Store) -> Measured | None:
    """None where nothing was measured. Raises RunMismatch for a file of another form."""
    try:
        return _measured(json.loads(store.read(_FILE)))
    except FileMissing:
        return None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RunMismatch(f"{store}/{_FILE}: damaged ({error!r}); run measure again") from None


def _measured(found: dict[str, Any]) -> Measured:
    encoder, reference, copies = found["encoder"], found["reference"], found["copies"]
    revision = f", revision {encoder['revision']}" if encoder["revision"] else ""
    matches = {one.key: one for one in map(_match, [*copies["images"], *found["neighbours"]])}
    return Measured(
        f"{encoder['told']}{revision}",
        (reference["split"], reference["images"]),
        [{name: row[name] for name in _COLUMNS} for row in found["rows"]],
        (copies["found"], copies["of_real"]),
        sorted(matches.values(), key=lambda one: (one.ratio, one.key)),
    )


def _match(one: Mapping[str, Any]) -> Match:
    by_features = one.get("by_features")
    return Match(
        key=one["key"],
        class_name=one["class_name"],
        real=one["real"],
        mirrored=one["mirrored"],
        ratio=one["ratio"],
        copy=one["copy"],
        nearest=(by_features[0]["real"], by_features[0]["distance"]) if by_features else None,
    )
