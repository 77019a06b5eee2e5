"""Synthetic images beside the real ones that they are most like, so that copying can be seen."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.data.splits import SPLITS
from engine.evaluation.neighbours import find_copies, thumbnails
from engine.report.measured import Match, Measured
from engine.report.pictures import SHEET, Picture, SampleRef, find, index, picture, pixels_of, samples, spread
from engine.run.run import Run
from shards.storage.manifest import finished_shards
from shards.storage.store import Store

_SHOWN = 18
_SHARDS = 8
_SYNTHETIC, _REAL = 500, 1500
_LEARNED = ("world", "train")
"""Splits that a generator or its prompts may have seen."""


@dataclass(frozen=True)
class LikenessPair:
    """A synthetic image beside the real one that it is most like by pixels, and by features where that is known."""

    match: Match
    synthetic: Picture
    real: Picture
    by_features: Picture | None


@dataclass(frozen=True)
class Likeness:
    """Pairs, the closest first. looked: how many synthetic images were compared, None for all that were measured; real:
    with how many real ones. copies: how many of them are copies."""

    pairs: Sequence[LikenessPair]
    looked: int | None
    real: int
    copies: int


def likeness(run: Run, measured: Measured | None) -> Likeness | None:
    """As measured; else, where the shards are on this machine, of some images spread over the run. None where there is
    nothing to be compared. Raises ShardError."""
    if measured is not None:
        copies, real = measured.copies
        return _likeness(run, measured.matches[:_SHOWN], None, real, copies)
    if run.store.local is None:
        return None  # some thousand requests to an object store are too many for a page
    ours = _some([run.shards], _SYNTHETIC)
    theirs = _some([run.store / "real" / split for split in _LEARNED], _REAL)
    if not ours or not theirs:
        return None
    matches = _compare(run, ours, theirs)
    return _likeness(run, matches[:_SHOWN], len(ours), len(theirs), sum(match.copy for match in matches))


def _likeness(run: Run, matches: Sequence[Match], looked: int | None, real: int, copies: int) -> Likeness | None:
    keys = {match.key for match in matches}
    named = [shard for shard in finished_shards(run.shards) if any(key.startswith(shard) for key in keys)]
    ours = find(run.shards, keys, named)
    wanted = {match.real for match in matches} | {match.nearest[0] for match in matches if match.nearest is not None}
    theirs: dict[str, SampleRef] = {}
    for split in SPLITS:
        place = run.store / "real" / split
        theirs |= find(place, {key for key in wanted if key.startswith(split)}, finished_shards(place))
    pairs = [
        LikenessPair(
            match, picture(ours[match.key], SHEET), picture(theirs[match.real], SHEET), _nearest(match, theirs)
        )
        for match in matches
        if match.key in ours and match.real in theirs
    ]
    return Likeness(pairs, looked, real, copies) if pairs else None


def _nearest(match: Match, theirs: dict[str, SampleRef]) -> Picture | None:
    if match.nearest is None or match.nearest[0] not in theirs:
        return None
    return picture(theirs[match.nearest[0]], SHEET)


def _some(places: Iterable[Store], count: int) -> list[SampleRef]:
    """At most `count` samples, spread over a few shards of each place."""
    return spread([sample for place in places for sample in _first(place, count)], count)


def _first(place: Store, count: int) -> Iterator[SampleRef]:
    for shard in spread(finished_shards(place), _SHARDS):
        table = index(place, shard)
        yield from samples(place, shard, table.take(spread(range(table.num_rows), count)))


def _compare(run: Run, ours: Sequence[SampleRef], theirs: Sequence[SampleRef]) -> list[Match]:
    """The closest first."""
    found = find_copies(_small(ours), _small(theirs))
    return [
        Match(
            key=ours[row].row["key"],
            class_name=run.recipe.plan.classes[ours[row].row["label"]],
            real=theirs[found.place[row]].row["key"],
            mirrored=bool(found.mirrored[row]),
            ratio=float(found.ratio[row]),
            copy=bool(found.found[row]),
            nearest=None,
        )
        for row in np.argsort(found.ratio, kind="stable").tolist()
    ]


def _small(some: Sequence[SampleRef]) -> NDArray[np.float32]:
    return np.concatenate([thumbnails([pixels_of(one)]) for one in some])  # one image at a time, for they may be large
