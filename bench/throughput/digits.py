"""Runs of the model that ships with Shardmill."""

from pathlib import Path
from typing import Any

import yaml

from bench.machine import ROOT
from engine.config.spec import Spec
from engine.config.spec_file import parse_as
from engine.run.run import Run, begin_run, plan_run

SOURCE = "embedded/digits"
FOLDER = ROOT / "engine" / SOURCE
STEPS = 8


def digits_run(place: Path, images: int, per_shard: int, **parts: dict[str, Any]) -> Run:
    """Begin a run of `images` images with the demo's model and prompts, without its real data and filters.

    Without filters no image is rejected, so all systems generate the same number of images.
    parts: fields that replace those of the spec's sections, such as model={"batch_size": 16}.
    """
    demo = yaml.safe_load((ROOT / "jobs/specs/digits.yaml").read_text(encoding="utf-8"))
    content: dict[str, Any] = {name: demo[name] for name in ("name", "seed", "prompts")}
    content |= {"classes": [str(digit) for digit in range(10)], "plan": {"total": images}, "filters": []}
    content["model"] = {"source": SOURCE, "steps": STEPS, **parts.pop("model", {})}
    content["output"] = {"samples_per_shard": per_shard, **parts.pop("output", {})}
    spec = parse_as(Spec, yaml.safe_dump(content | parts), "the benchmark")
    return begin_run(plan_run(spec), place)
