"""The page: everything that it shows, handed to the templates."""

import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from engine.config.spec_file import dump_spec
from engine.evaluation.measure_result import ALL_CLASSES, MeasureResult
from engine.evaluation.sweep_result import SweepResult
from engine.monitoring.budget import read_cost
from engine.monitoring.formatting import format_bytes
from engine.report.class_images import class_images
from engine.report.confusion import confusion_matrices
from engine.report.gain_scatter import gain_scatter
from engine.report.gallery import make_gallery
from engine.report.nearest_images import nearest_images
from engine.report.quality_charts import alpha_curve, alternatives_chart
from engine.report.run_totals import count_classes, largest_classes, sum_stats
from engine.report.verdict_text import METRIC_NAMES, near_copy_text, verdict
from engine.run.run import Run
from engine.training.classifier.metrics import TITLES

_CLASSES_WITH_IMAGES = 20
_CLASSES_IN_TABLE, _CLASSES_WITH_BARS = 500, 60
_SPEC_LENGTH = 100_000
_STAGES = {
    "text": "encoding prompts",
    "denoise": "denoising",
    "decode": "decoding to pixels",
    "copy": "copying to the host",
    "wait": "idle",
    "encode": "filters and image encoding",
    "commit": "writing and publishing shards",
}


_NAME_LENGTH = 80


def render(run: Run) -> str:
    """Return the report as HTML. Raises ShardError, RunMismatch."""
    spec, plan = run.context.spec, run.context.plan
    labels = largest_classes(plan.quotas, _CLASSES_WITH_IMAGES)
    totals = sum_stats(run.shards, [plan.classes[label] for label in labels])
    counts = count_classes(plan, totals)
    images = class_images(run, totals, {label: counts[label] for label in labels})
    key = next((thumbnail.key for of_class in images for thumbnail in of_class.synthetic), None)
    sweep, measured = SweepResult.read(run.store), MeasureResult.read(run.store)
    sizes = [count.real + count.planned for count in counts]
    return page_template().render(
        spec=spec,
        plan=plan,
        totals=totals,
        generator=_generator(run),
        cost=read_cost(run.store).at_least(spec, totals.seconds),
        counts=[counts[label] for label in largest_classes(sizes, _CLASSES_IN_TABLE)],
        bars=[counts[label] for label in largest_classes(sizes, _CLASSES_WITH_BARS)],
        longest_bar=max(sizes),
        class_images=images,
        nearest=nearest_images(run, measured),
        stage_names=_STAGES,
        sweep_command=sweep_command(run),
        commands=rerun_commands(run, key),
        spec_text=shorten(dump_spec(spec), _SPEC_LENGTH),
        **_sweep_sections(run, sweep, measured),
        **_measure_tables(measured),
    )


def _sweep_sections(run: Run, sweep: SweepResult | None, measured: MeasureResult | None) -> dict[str, Any]:
    """Return what the page shows of a sweep; without one, every value is None."""
    if sweep is None:
        names = "sweep verdict metric score_titles near_copies curve alternatives confusions gallery scatter"
        return dict.fromkeys(names.split())
    return {
        "sweep": sweep,
        "verdict": verdict(sweep),
        "metric": METRIC_NAMES[sweep.metric],
        "score_titles": TITLES if sweep.metric == "accuracy" else {},
        "near_copies": [near_copy_text(copy) for copy in sweep.near_copies.listed],
        "curve": alpha_curve(sweep),
        "alternatives": alternatives_chart(sweep),
        "confusions": confusion_matrices(sweep),
        "gallery": make_gallery(run, sweep),
        "scatter": None if measured is None else gain_scatter(sweep, measured),
    }


def _measure_tables(measured: MeasureResult | None) -> dict[str, Any]:
    rows = [] if measured is None else measured.rows
    return {
        "measured": measured,
        "strategy_rows": [row for row in rows if row.class_name == ALL_CLASSES],
        "class_rows": [row for row in rows if row.class_name != ALL_CLASSES],
    }


def _generator(run: Run) -> str:
    """Return the generator's kind and the settings that differ from their defaults."""
    model = run.context.spec.model
    settings = model.model_dump(mode="json", exclude={"kind", "source", "revision"}, exclude_defaults=True)
    return ", ".join([model.kind, *(f"{name} {value}" for name, value in settings.items())])


def sweep_command(run: Run) -> str:
    """Return the command that measures whether the run's images help."""
    spec, folder = _arguments(run)
    return f"python -m jobs sweep {spec} --out {folder}"


def rerun_commands(run: Run, key: str | None) -> list[tuple[str, str]]:
    """Return pairs of purpose and command. key: of a sample to replay; None if there is none yet."""
    spec, folder = _arguments(run)
    return [
        ("Make the shards, or resume making them", f"python -m jobs generate {spec} --out {folder}"),
        ("Measure whether they help", sweep_command(run)),
        ("Measure how near they are to real images", f"python -m jobs measure {folder}"),
        ("Check every byte and label", f"python -m jobs verify {folder}"),
        ("Make one image again", f"python -m jobs replay {folder} {key or 'KEY'}"),
    ]


def _arguments(run: Run) -> tuple[str, str]:
    return shlex.quote(f"{run.store}/spec.yaml"), shlex.quote(run.store.url)


def page_template() -> Template:
    """Return the template of the page."""
    # Prompts, class names and model cards come from outside: autoescape applies to everything.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "percent": lambda value: f"{100 * value:.1f}%",
        "points": lambda value: f"{100 * value:+.1f}",
        "count": lambda value: f"{value:,}",
        "name": lambda text: shorten(str(text), _NAME_LENGTH),
        "duration": _duration,
        "bytes": format_bytes,
        "place": lambda value: f"{value:.2f}%",
    }
    environment.filters.update(filters)
    return environment.get_template("report.html.j2")


def shorten(text: str, length: int) -> str:
    """Return the text, cut to `length` characters with an ellipsis if it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _duration(seconds: float) -> str:
    """Return a time as text: 12.3 s, 4 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"
