"""The real images of a run as shards, and the checks that no split has seen another."""

from collections.abc import Sequence

from engine.config.model_settings import ModelSettings
from engine.data.real_shards import write_real_shards
from engine.data.splits import SPLITS, Splits, load_splits
from engine.errors import DataError, SpecError
from engine.models.model_folder import training_digests
from engine.run.image_shape import image_shape
from engine.run.run import Run
from shards.storage.manifest import read_rows
from shards.storage.store import Store


def prepare_real(run: Run, needed: Sequence[str] = ()) -> Splits:
    """Write the real images of a run to RUN/real/<split>, and check that the splits are disjoint.

    needed: splits that must have images. Raises SpecError for a run without real data or with an empty needed split,
    DataError where splits overlap, or where the generator learned from images of train, validation or test.
    """
    spec = run.context.spec
    if spec.data is None:
        raise SpecError(f"{run.store}: its spec has no data, and there are no real images to compare with; add data")
    splits = load_splits(spec.data)
    if empty := [split for split in needed if not splits[split]]:
        raise SpecError(f"data.splits.{empty[0]}: no image falls into it; give it a larger share")
    _check_unseen(splits, spec.model)
    write_real_shards(splits, run.store / "real", spec.output.image, image_shape(run))
    check_disjoint(run.store / "real")
    return splits


def check_disjoint(real: Store) -> None:
    """Raise DataError where the same image is in two splits on disk."""
    seen: dict[str, str] = {}
    for split in SPLITS:
        for row in read_rows(real / split, ["digest", "origin"]):
            other = seen.setdefault(row["digest"], split)
            if other != split:
                raise DataError(f"{row['origin']} is in {other} and in {split}; remove {real} and run this again")


def _check_unseen(splits: Splits, model: ModelSettings) -> None:
    for split in ("train", "validation", "test"):
        learned = training_digests(model, split)
        for image in splits[split]:
            if image.digest in learned:
                raise DataError(
                    f"{image.origin} of the {split} split is one of the images that {model.source} or an adapter of it "
                    "was trained on; use the splits that the generator was trained with"
                )
