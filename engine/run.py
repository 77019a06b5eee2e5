"""A run folder: what it was begun with, and which of its units are finished.

RUN/spec.yaml      the resolved spec
RUN/plan.json      classes, counts of real images, quotas and digest
RUN/shards/        the synthetic shards
RUN/real/<split>/  the real images of a split as shards, once a sweep needed them
"""

import json
from dataclasses import dataclass
from pathlib import Path

from engine.errors import OutputError, RunMismatch, SpecError
from engine.plan import Plan, make_plan, plan_of
from engine.recipe import Recipe
from engine.spec import Spec
from engine.specfile import differences, dump_spec, identity, load_spec
from shards.card import Card, write_card
from shards.commit import replace_text, sweep_staging
from shards.stats import SUFFIX, Stats, all_stats


@dataclass(frozen=True)
class Run:
    """A recipe and the folder that it fills."""

    folder: Path
    recipe: Recipe

    @property
    def shards(self) -> Path:
        """Folder of the synthetic shards."""
        return self.folder / "shards"

    def pending(self) -> list[int]:
        """Numbers of the units that are not finished, by listing the stats files."""
        plan = self.recipe.plan
        done = {path.name for path in self.shards.glob(f"*{SUFFIX}")}
        return [n for n in range(plan.n_units) if f"{plan.shard_name(n)}{SUFFIX}" not in done]

    def stats(self) -> dict[str, Stats]:
        """Stats of the finished units by shard name."""
        return all_stats(self.shards)

    def write_card(self) -> None:
        """Write the files that other people's readers look for, for the shards finished so far."""
        spec = self.recipe.spec
        license = next((str(one["license"]) for one in self.stats().values() if "license" in one), "unknown")
        text = f"Synthetic images, made by {spec.model.source}; validate on real ones. Written by Shardmill."
        card = Card(spec.name, text, license, ("synthetic", "webdataset"), self.recipe.plan.classes)
        write_card(self.shards, card)
        sweep_staging(self.shards)


def plan_run(spec: Spec) -> Recipe:
    """The recipe of a spec, reading the real data where there is some. Raises DataError, SpecError."""
    if spec.data is None:
        classes = spec.classes or ()
        return Recipe(spec, make_plan(spec, classes, [0] * len(classes)))
    from engine.sources import load_splits

    splits = load_splits(spec.data)
    return Recipe(spec, make_plan(spec, splits.classes, splits.counts("train")))


def begin_run(recipe: Recipe, folder: Path) -> Run:
    """Take the folder for this recipe, or go on with it. Raises RunMismatch, OutputError."""
    run = Run(folder, recipe)
    if (folder / "spec.yaml").exists():
        _check_same(load_run(folder), recipe)
    try:
        run.shards.mkdir(parents=True, exist_ok=True)
        sweep_staging(run.shards)
        replace_text(folder / "plan.json", _plan_text(recipe.plan))
        replace_text(folder / "spec.yaml", dump_spec(recipe.spec))
        sweep_staging(folder)
    except OSError as error:
        raise OutputError(f"--out {folder}: cannot be written: {error.strerror}; choose another folder") from None
    return run


def load_run(folder: Path) -> Run:
    """The run that a folder holds, without reading the real data again. Raises SpecError, RunMismatch."""
    if not (folder / "spec.yaml").is_file() or not (folder / "plan.json").is_file():
        raise SpecError(f"{folder}: not a run folder, it lacks spec.yaml or plan.json; `generate` makes one")
    spec = load_spec(folder / "spec.yaml")
    found = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    plan = plan_of(spec, found["classes"], found["real"], found["quotas"])
    if plan.digest != found["digest"]:
        raise RunMismatch(f"{folder}: spec.yaml was changed after the run was begun; put the old one back")
    return Run(folder, Recipe(spec, plan))


def _plan_text(plan: Plan) -> str:
    content = {"classes": plan.classes, "real": plan.real, "quotas": plan.quotas, "digest": plan.digest}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _check_same(old: Run, new: Recipe) -> None:
    if old.recipe.plan.digest == new.plan.digest:
        return
    changes = differences(identity(old.recipe.spec), identity(new.spec))
    before, after = (dict(zip(p.classes, p.quotas, strict=True)) for p in (old.recipe.plan, new.plan))
    changes += differences(before, after, "images")
    shown = "; ".join(changes[:8]) + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
    raise RunMismatch(f"{old.folder} was begun with another spec ({shown}); use another --out, or that spec")
