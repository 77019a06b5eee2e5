"""Experiments on whether synthetic images help: `python -m bench rebalance`, `shortage`, `dense` and `ratio`.

Each one runs `python -m jobs experiment` and writes the arms of the sweep as a table, a JSON file and a plot:

NAME.json   {"protocol", "arms": [{"name", "seeds", "accuracy", "macro_f1", "ci95"}], "verdict", "generator",
            "commands", "machine"}; for masks, accuracy is the mean IoU
NAME.md, NAME.png
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from bench.evidence_plot import plot
from bench.machine import ROOT, machine
from engine.evaluation.sweep_result import ArmResult, SweepResult
from engine.models.model_folder import local_folder
from engine.report.verdict_text import METRIC_NAMES, verdict
from engine.run.run import Run, load_run
from shards.storage.manifest import read_all_stats


@dataclass(frozen=True)
class Evidence:
    """An experiment.

    description: one line for `--help` and the table.
    spec:        the default spec.
    runs:        the compared generators by name; each value overrides fields of the spec.
    """

    description: str
    spec: str
    runs: Mapping[str, Sequence[str]]


EVIDENCE = {
    "rebalance": Evidence(
        "an imbalanced set, filled up by synthetic images, beside what can be done without",
        "jobs/specs/experiments/cifar10-rebalance.yaml",
        {"": ()},
    ),
    "shortage": Evidence(
        "four classes with few real images, at several synthetic fractions",
        "jobs/specs/experiments/cifar10-shortage.yaml",
        {"": ()},
    ),
    "dense": Evidence(
        "few real images whose every pixel has a class, and images that follow their masks",
        "jobs/specs/experiments/digits-dense.yaml",
        {"": ()},
    ),
    "ratio": Evidence(
        "six synthetic fractions with images of the same generator at two strengths of guidance, side by side",
        "jobs/specs/experiments/cifar10-ratio.yaml",
        {"guidance 1": ("model.guidance=1",), "guidance 3": ("model.guidance=3",)},
    ),
}


def main(name: str, out: Path, work: Path | None, spec: str | None, overrides: Sequence[str]) -> None:
    """Run the experiment, resuming it in `work`, and write the three files to `out`."""
    evidence = EVIDENCE[name]
    with TemporaryDirectory() as folder:
        place = work or Path(folder)
        commands, runs = [], {}
        for generator, generator_overrides in evidence.runs.items():
            run = place / "-".join([name, *generator.split()])
            commands.append(_run_experiment(spec or evidence.spec, run, [*generator_overrides, *overrides]))
            runs[generator] = load_run(str(run))
        sweeps = {name: result for name, run in runs.items() if (result := SweepResult.read(run.store)) is not None}
        content = content_of(evidence, runs, sweeps, commands)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = table(name, content)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    plot(sweeps, out / f"{name}.png")
    print(text)


def _run_experiment(spec: str, run: Path, overrides: Sequence[str]) -> str:
    """Run an experiment; return its command line without the folders of this machine."""
    settings = [part for override in overrides for part in ("--set", override)]
    line = [sys.executable, "-m", "jobs", "experiment", spec, "--out", str(run.absolute()), *settings]
    subprocess.run(line, cwd=ROOT, check=True)
    return shlex.join(["python", "-m", "jobs", "experiment", spec, "--out", f"runs/{run.name}", *settings])


def content_of(
    evidence: Evidence, runs: Mapping[str, Run], sweeps: Mapping[str, SweepResult], commands: Sequence[str]
) -> dict[str, Any]:
    """Return the content of the JSON file. runs, sweeps: by the name of the generator."""
    first_run, first_sweep = next(iter(runs.values())), next(iter(sweeps.values()))
    arms = [
        {**_arm(arm), "name": ": ".join(part for part in (generator, arm.name) if part)}
        for generator, sweep in sweeps.items()
        for arm in sweep.by_name.values()
    ]
    return {
        "protocol": _protocol(evidence, first_run, first_sweep),
        "arms": arms,
        "verdict": {name or "all": verdict(sweep) for name, sweep in sweeps.items()},
        "generator": {name or "all": _generator(run) for name, run in runs.items()},
        "commands": list(commands),
        "machine": machine(),
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    f1 = arm.macro_f1
    return {
        "seeds": list(arm.quality_per_seed),
        "accuracy": arm.quality.mean,
        "macro_f1": None if f1 is None else f1.mean,
        "ci95": {
            "accuracy": [arm.quality.low, arm.quality.high],
            "macro_f1": None if f1 is None else [f1.low, f1.high],
            "lift": [arm.lift.low, arm.lift.high],
        },
    }


def _protocol(evidence: Evidence, run: Run, sweep: SweepResult) -> dict[str, Any]:
    plan, spec = run.context.plan, run.context.spec
    return {
        "what": evidence.description,
        "measured": f"{METRIC_NAMES[sweep.metric]} on {sweep.real_images['validation']:,} real validation images; 95% "
        "intervals by a paired bootstrap over seeds and images",
        "real_train_of_each_class": dict(zip(plan.classes, plan.real, strict=True)),
        "synthetic_of_each_class": dict(zip(plan.classes, plan.quotas, strict=True)),
        "sweep": spec.sweep.model_dump(mode="json"),
        "train": spec.train.model_dump(mode="json", exclude_defaults=True),
        "data": spec.data.model_dump(mode="json", exclude_defaults=True) if spec.data else None,
    }


def _generator(run: Run) -> dict[str, Any]:
    stats = list(read_all_stats(run.shards).values())
    return {
        "model": stats[0]["model"],
        "settings": run.context.spec.model.model_dump(mode="json", exclude_defaults=True),
        "device": stats[0]["device"],
        "images": sum(unit["count"] for unit in stats),
        "seconds": round(sum(unit["duration_s"] for unit in stats)),
        "trained": _training(run),
    }


def _training(run: Run) -> dict[str, Any] | None:
    """Return facts about the training of the generator; None if this project did not train it."""
    part = next(iter(run.context.spec.model.parts))
    file = (local_folder(part) or Path()) / "training.json"
    if not file.is_file():
        return None
    training = json.loads(file.read_text(encoding="utf-8"))
    facts = {key: training[key] for key in ("revision", "world_images", "device") if key in training}
    quality = {key: value for key, value in training.get("quality", {}).items() if key != "adherence"}
    return {**facts, **quality, **{key: training["spec"].get(key) for key in ("autoencoder", "denoiser")}}


def table(name: str, content: Mapping[str, Any]) -> str:
    """Return the content of the JSON file as Markdown."""
    protocol = content["protocol"]
    lines = [
        f"`python -m bench {name}`: {protocol['what']}. Measured: {protocol['measured']}.",
        "",
        *(f"{text}\n" if name == "all" else f"{name}: {text}\n" for name, text in content["verdict"].items()),
        f"| arm | {protocol['measured'].partition(' on ')[0]} | macro F1 | lift |",
        "|---|---|---|---|",
    ]
    base = {arm["name"].rpartition(": ")[0]: arm["accuracy"] for arm in content["arms"] if arm["name"].endswith("-0")}
    for arm in content["arms"]:
        lift = arm["accuracy"] - base[arm["name"].rpartition(": ")[0]]
        cells = (_cell(arm[key], arm["ci95"][key]) for key in ("accuracy", "macro_f1"))
        lines.append(f"| {arm['name']} | {' | '.join(cells)} | {_cell(lift, arm['ci95']['lift'], '+')} |")
    settings = yaml.safe_dump(
        {key: protocol[key] for key in protocol if key not in ("what", "measured")}, sort_keys=False
    )
    commands = "\n".join(content["commands"])
    provenance = json.dumps({"generator": content["generator"], "machine": content["machine"]})
    return "\n".join(
        [*lines, "", "```yaml", settings.strip(), "```", "", "```console", commands, "```", "", provenance, ""]
    )


def _cell(mean: float | None, interval: Sequence[float] | None, sign: str = "") -> str:
    if mean is None or interval is None:
        return ""
    low, high = interval
    return f"{100 * mean:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
