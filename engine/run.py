"""A run folder: what it was begun with, and which of its units are finished.

RUN/spec.yaml      the resolved spec
RUN/plan.json      classes, counts of real images, quotas and digest
RUN/inputs/        copies of the files that the spec names, and the images of its conditions
RUN/shards/        the synthetic shards
RUN/real/<split>/  the real images of a split as shards, once a sweep needed them
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import OutputError, RunMismatch, SpecError
from engine.guards import check_sources
from engine.inputs import Inputs, check_stored, gather_inputs, store_inputs, stored_inputs
from engine.models import check_models, pin
from engine.plan import make_plan, plan_of
from engine.recipe import Recipe
from engine.sources import load_splits
from engine.spec.run import Spec
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


def pinned(spec: Spec, folder: Path) -> Spec:
    """The spec with every hub model pinned to a commit: the one that the run in `folder` was begun with, else what it
    is now. Raises ModelError where a model cannot be had or must not be loaded."""
    begun = load_spec(folder / "spec.yaml").model if (folder / "spec.yaml").exists() else None
    model = pin(spec.model, begun)
    check_models(model)
    return spec.model_copy(update={"model": model})


def plan_run(spec: Spec, folder: Path | None = None) -> Recipe:
    """The recipe of a spec, reading the real data where there is some. Raises DataError, SpecError, RunMismatch.

    folder: of the run; once it is begun, its copies stand in for prompts and layouts that are gone.
    """
    splits = None if spec.data is None else load_splits(spec.data)
    classes = spec.classes or () if splits is None else splits.classes
    real = [0] * len(classes) if splits is None else splits.counts("train")
    plan = make_plan(spec, classes, real)
    begun = load_run(folder).recipe.inputs if folder is not None and (folder / "spec.yaml").exists() else Inputs()
    inputs = gather_inputs(spec, plan, splits, begun)
    recipe = Recipe(spec, plan_of(spec, classes, real, plan.quotas, inputs.digests), inputs)
    check_sources(recipe, splits)
    return recipe


def begin_run(recipe: Recipe, folder: Path) -> Run:
    """Take the folder for this recipe, or go on with it. Raises RunMismatch, OutputError."""
    if (folder / "spec.yaml").exists():
        _check_same(load_run(folder), recipe)
    try:
        run = Run(folder, replace(recipe, inputs=store_inputs(recipe.inputs, recipe.spec, folder / "inputs")))
        run.shards.mkdir(parents=True, exist_ok=True)
        sweep_staging(run.shards)
        replace_text(folder / "plan.json", _plan_text(recipe))
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
    if lacking := {"classes", "real", "quotas", "inputs", "digest"} - found.keys():
        raise RunMismatch(f"{folder}/plan.json: lacks {min(lacking)}; another version of Shardmill began this run")
    plan = plan_of(spec, found["classes"], found["real"], found["quotas"], found["inputs"])
    if plan.digest != found["digest"]:
        raise RunMismatch(f"{folder}: spec.yaml was changed after the run was begun; put the old one back")
    inputs = stored_inputs(found["inputs"], spec, folder / "inputs")
    check_stored(inputs, spec)
    return Run(folder, Recipe(spec, plan, inputs))


def _plan_text(recipe: Recipe) -> str:
    plan, inputs = recipe.plan, dict(recipe.inputs.digests)
    content = {
        "classes": plan.classes,
        "real": plan.real,
        "quotas": plan.quotas,
        "inputs": inputs,
        "digest": plan.digest,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _check_same(old: Run, new: Recipe) -> None:
    if old.recipe.plan.digest == new.plan.digest:
        return
    changes = differences(identity(old.recipe.spec), identity(new.spec))
    before, after = (dict(zip(p.classes, p.quotas, strict=True)) for p in (old.recipe.plan, new.plan))
    changes += differences(before, after, "images")
    digests = old.recipe.inputs.digests
    changes += [
        f"{name} has other content" for name, digest in new.inputs.digests.items() if digests.get(name) != digest
    ]
    shown = "; ".join(changes[:8]) + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
    raise RunMismatch(f"{old.folder} was begun with another spec ({shown}); use another --out, or that spec")
