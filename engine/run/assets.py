"""The files that a spec names besides models: prompt banks, attribute lists, and the images of conditions.

A run keeps a copy of each, so that it can be resumed and replayed, also on nodes that see only its folder or bucket:

RUN/assets/<digest>.parquet|json   each file
RUN/assets/<digest>/               images or layouts as shards
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.config.condition_spec import LayoutCondition, MasksCondition, RealCondition
from engine.config.spec import Spec
from engine.data.masks import colours_of, read_mask
from engine.data.real_image import RealImage
from engine.data.real_shards import write_shard
from engine.data.splits import Splits
from engine.errors import RunMismatch, SpecError
from engine.generators.conditioning.layouts import check_shape, masks_as_layouts, open_layouts
from engine.run.plan import Plan
from shards.codec import detect_format, encode_mask, encode_rgb
from shards.errors import ShardError
from shards.sample import Sample, Scalar
from shards.stats import STATS_SUFFIX
from shards.storage.commit import sha256_of
from shards.storage.locations import cache_home
from shards.storage.manifest import finished_shards, read_all_stats, read_rows
from shards.storage.store import Store

_CONDITION = "condition"
_PER_SHARD = 1000


@dataclass(frozen=True)
class Assets:
    """The assets of a run.

    digests: SHA-256 of each file by its path, and of all condition images together; the plan's digest covers them.
    condition: folder of the condition's shards; None before the run has begun, or if nothing is stored.
    """

    files: Mapping[str, Path] = field(default_factory=dict)  # local path of each file by its path in the spec
    digests: Mapping[str, str] = field(default_factory=dict)
    condition: Path | None = None
    images: Sequence[RealImage] = ()  # the images of those shards, before the run has begun


def gather_assets(spec: Spec, plan: Plan, splits: Splits | None, begun: Assets) -> Assets:
    """Find the assets that the plan's quotas need, and compute their digests.

    begun: the copies that a resumed run holds; they replace files that have gone.
    Raises SpecError for a missing file, DataError for missing layouts.
    """
    files = {path: _find(path, begun) for path in _paths(spec)}
    assets = Assets(files, {path: sha256_of(place) for path, place in files.items()})
    condition = spec.condition
    images: Sequence[RealImage] = ()
    if isinstance(condition, LayoutCondition):
        if begun.condition is not None and not Path(condition.path).expanduser().exists():
            digests = {**assets.digests, _CONDITION: begun.digests[_CONDITION]}
            return replace(assets, digests=digests, condition=begun.condition)
        images = open_layouts(condition, plan.classes)
    elif isinstance(condition, RealCondition) and splits is not None:
        images = splits.train
    elif isinstance(condition, MasksCondition) and splits is not None:
        images = masks_as_layouts(splits.train)
    images = [image for image in images if plan.quotas[image.label]]
    if condition is None or not images:
        return assets
    digest = _digest(spec, ((image.label, image.digest) for image in images))
    return replace(assets, digests={**assets.digests, _CONDITION: digest}, images=images)


def store_assets(assets: Assets, spec: Spec, store: Store) -> Assets:
    """Copy the missing assets to RUN/assets and return the stored ones. Raises DataError."""
    _copy({name: assets.files[path] for path, name in _names(assets.digests, spec).items()}, store)
    if _CONDITION in assets.digests:
        place = store / assets.digests[_CONDITION][:16]
        if assets.condition is None:
            _write_condition(assets.images, spec, place)
        else:
            _copy({path.name: path for path in assets.condition.iterdir() if path.is_file()}, place)
    store.sweep()
    return stored_assets(assets.digests, spec, store)


def stored_assets(digests: Mapping[str, str], spec: Spec, store: Store) -> Assets:
    """Return the assets of a begun run on this machine. Those of a bucket are downloaded to the user's cache."""
    place = store.local or cache_home() / "assets"
    files = {path: place / name for path, name in _names(digests, spec).items()}
    condition = place / digests[_CONDITION][:16] if _CONDITION in digests else None
    if store.local is None:
        _fetch(store, [path.name for path in files.values()], place)
        if condition is not None:
            _fetch(store / condition.name, list((store / condition.name).entries()), condition)
    return Assets(files, digests, condition)


def _names(digests: Mapping[str, str], spec: Spec) -> dict[str, str]:
    """Return the name of the copy of each file."""
    return {path: f"{digests[path][:16]}{Path(path).suffix}" for path in _paths(spec)}


def _copy(files: Mapping[str, Path], store: Store) -> None:
    stored = store.entries()
    for name in sorted(
        files.keys() - stored.keys(), key=lambda name: (name.endswith(STATS_SUFFIX), name)
    ):  # stats files last
        staged = store.staging(name)
        shutil.copyfile(files[name], staged)
        store.publish(staged, name)


def _fetch(store: Store, names: Iterable[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / name).exists():
            with store.local_copy(name) as copy:
                copy.replace(folder / name)


def check_stored(assets: Assets, spec: Spec) -> None:
    """Raise RunMismatch if a copy is missing or was changed. Of images, only index and sizes are read."""
    for path, place in assets.files.items():
        if not place.is_file() or sha256_of(place) != assets.digests[path]:
            raise RunMismatch(f"{place}, the run's copy of {path}, is missing or was changed; put the old one back")
    if assets.condition is not None and spec.condition is not None:
        _check_condition(assets.condition, spec, assets.digests[_CONDITION])


def _check_condition(folder: Path, spec: Spec, digest: str) -> None:
    try:
        files = [facts for stats in read_all_stats(folder).values() for facts in stats["files"]]
        whole = all((folder / facts["name"]).stat().st_size == facts["size"] for facts in files)
        rows = read_rows(folder, ("label", "digest")) if whole else []
    except (OSError, ShardError):
        rows = []
    if _digest(spec, ((row["label"], row["digest"]) for row in rows)) != digest:
        raise RunMismatch(
            f"{folder}, the run's copy of the images of its condition, is incomplete or was changed; put the old one "
            "back"
        )


def _digest(spec: Spec, images: Iterable[tuple[int, str]]) -> str:
    """Digest everything that decides the stored images: (label, digest) of each, and the palette of layouts."""
    palette = "" if isinstance(spec.condition, RealCondition) else json.dumps(spec.mask_palette)
    digest = hashlib.sha256(palette.encode())
    for label, image in images:
        digest.update(f"\n{label} {image}".encode())
    return digest.hexdigest()


def _paths(spec: Spec) -> list[str]:
    paths: dict[str, None] = {}
    for strategy in spec.prompts.strategies:
        if strategy.bank is not None:
            paths[strategy.bank] = None
        if strategy.clusters is not None:
            paths[strategy.clusters.path] = None
    return list(paths)


def _find(path: str, begun: Assets) -> Path:
    place = Path(path).expanduser()
    if place.is_file():
        return place
    if path in begun.files:
        return begun.files[path]
    raise SpecError(f"prompts: no file {path}; `python -m jobs prompts` writes banks, `attributes` attribute lists")


def _write_condition(images: Sequence[RealImage], spec: Spec, store: Store) -> None:
    done = set(finished_shards(store))
    for start in range(0, len(images), _PER_SHARD):
        name = f"{start // _PER_SHARD:05d}"
        if name not in done:
            write_shard(store, name, _samples(images[start : start + _PER_SHARD], start, spec))
    store.sweep()


def _samples(images: Sequence[RealImage], start: int, spec: Spec) -> Iterator[Sample]:
    for number, image in enumerate(images, start):
        meta: dict[str, Scalar] = {
            "key": f"condition{number:07d}",
            "label": image.label,
            "class_name": image.class_name,
            "synthetic": False,
            "generation": 0,
            "prompt": "",
            "origin": image.origin,
            "digest": image.digest,
        }
        if isinstance(spec.condition, RealCondition):
            yield _picture(image, meta)
        else:
            yield _layout(image, spec, meta)


def _layout(image: RealImage, spec: Spec, meta: Mapping[str, Scalar]) -> Sample:
    palette = spec.mask_palette
    assert palette is not None
    mask = read_mask(image.read(), palette, image.origin, "condition.palette")
    if isinstance(spec.condition, LayoutCondition):
        height, width = spec.model.size
        check_shape(mask, height or 1, width or 1, image.origin)  # a model's own size is square
    coloured = encode_rgb(colours_of(palette)[mask], "png")
    return Sample(str(meta["key"]), coloured, "png", image.label, meta, encode_mask(mask))


def _picture(image: RealImage, meta: Mapping[str, Scalar]) -> Sample:
    pixels, data = image.pixels(), image.read()  # decode here, so that a corrupt image is found before actors start
    format = detect_format(data)
    if format is None:
        data, format = encode_rgb(pixels, "png"), "png"
    return Sample(str(meta["key"]), data, format, image.label, meta)
