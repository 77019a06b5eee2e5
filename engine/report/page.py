"""The page: everything that it says, put into the template."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from engine.config.spec_file import dump_spec
from engine.monitoring.cost_file import recorded
from engine.monitoring.estimate import megabytes
from engine.report.alternatives import compare
from engine.report.alpha_curve import curve
from engine.report.confusion import confusions
from engine.report.findings import Findings, read_findings
from engine.report.gallery import make_gallery
from engine.report.nearest_images import likeness
from engine.report.measured import Measured, read_measured
from engine.report.pictures import Picture
from engine.report.run_totals import RunTotals, tally
from engine.report.gain_scatter import scatter
from engine.report.class_images import pictures
from engine.run.run import Run

_SHEETS = 20
_SYNTHETIC, _REAL = 12, 4
_ROWS, _BARS = 500, 60
_NAME = 80
_SPEC = 100_000
_STAGES = {
    "text": "reading prompts",
    "denoise": "denoising",
    "decode": "decoding to pixels",
    "copy": "copying to the host",
    "wait": "waiting",
    "encode": "filters and image encoding",
    "commit": "writing and publishing shards",
}
_NOT_SWEPT: dict[str, Any] = {"charts": [], "comparison": None, "scattered": None, "confusions": [], "gallery": None}


@dataclass(frozen=True)
class ClassCount:
    """Images of one class. before: real training images."""

    name: str
    before: int
    planned: int
    kept: int
    failed: int

    @property
    def after(self) -> int:
        """Real and synthetic images together."""
        return self.before + self.kept

    @property
    def left(self) -> int:
        """Slots that no finished unit holds yet."""
        return self.planned - self.kept - self.failed


@dataclass(frozen=True)
class Sheet:
    """Some images of one class."""

    count: ClassCount
    synthetic: Sequence[Picture]
    real: Sequence[Picture]

    @property
    def strategies(self) -> list[tuple[str, list[Picture]]]:
        """The synthetic ones by prompt strategy."""
        return [(name, list(found)) for name, found in groupby(self.synthetic, lambda picture: picture.strategy)]


def render(run: Run) -> str:
    """The report as HTML. Raises ShardError, RunMismatch."""
    plan = run.recipe.plan
    shown = _largest(plan.quotas, _SHEETS)
    made = tally(run.shards, [plan.classes[label] for label in shown])
    counts = [
        ClassCount(name, before, planned, made.kept[name], made.failed[name])
        for name, before, planned in zip(plan.classes, plan.real, plan.quotas, strict=True)
    ]
    lengths = [one.before + one.planned for one in counts]
    findings, measured = read_findings(run.store), read_measured(run.store)
    sheets = _sheets(run, made, [(label, counts[label]) for label in shown])
    template = _environment().get_template("report.html.j2")
    return template.render(
        run=run,
        spec=run.recipe.spec,
        plan=plan,
        generator=_generator(run),
        made=made,
        findings=findings,
        measured=measured,
        likeness=likeness(run, measured),
        cost=recorded(run.store).at_least(run.recipe.spec, made.seconds),
        **(_NOT_SWEPT if findings is None else _swept(run, findings, measured)),
        counts=[counts[label] for label in _largest(lengths, _ROWS)],
        bars=[counts[label] for label in _largest(lengths, _BARS)],
        longest=max(lengths),
        sheets=sheets,
        stage_names=_STAGES,
        commands=_commands(run, sheets),
        spec_text=_cut(dump_spec(run.recipe.spec), _SPEC),
    )


def _swept(run: Run, findings: Findings, measured: Measured | None) -> dict[str, Any]:
    """What the page says of a sweep, by the names of `_NOT_SWEPT`."""
    return {
        "charts": _charts(findings),
        "comparison": compare(findings),
        "scattered": None if measured is None else scatter(findings, measured.kids()),
        "confusions": confusions(findings),
        "gallery": make_gallery(run, findings),
    }


def _charts(findings: Findings) -> list[tuple[str, Markup]]:
    """The curve for wide and for narrow windows: text that scaled with the window would be too small on a phone."""
    shapes = {"wide": (880, 400), "narrow": (350, 330)}
    # The SVG holds numbers and our own words, nothing that a spec or a prompt says.
    return [(name, Markup(curve(findings, *shape))) for name, shape in shapes.items()]  # noqa: S704


def _sheets(run: Run, made: RunTotals, shown: Iterable[tuple[int, ClassCount]]) -> list[Sheet]:
    real_shards = run.store / "real" / "train"
    real = tally(real_shards, made.shards_of)
    by_label = dict(shown)
    found = [
        pictures(shards, {label: one.shards_of[count.name] for label, count in by_label.items()}, number)
        for shards, one, number in ((run.shards, made, _SYNTHETIC), (real_shards, real, _REAL))
    ]
    sheets = [Sheet(count, found[0][label], found[1][label]) for label, count in by_label.items()]
    return [sheet for sheet in sheets if sheet.synthetic or sheet.real]


def _generator(run: Run) -> str:
    """Its kind, and what was set."""
    model = run.recipe.spec.model
    told = model.model_dump(mode="json", exclude={"kind", "source", "revision"}, exclude_defaults=True)
    return ", ".join([model.kind, *(f"{name} {value}" for name, value in told.items())])


def _largest(sizes: Sequence[int], count: int) -> list[int]:
    """Labels of the `count` largest classes, in label order."""
    return sorted(sorted(range(len(sizes)), key=lambda label: -sizes[label])[:count])


def _commands(run: Run, sheets: Sequence[Sheet]) -> list[tuple[str, str]]:
    folder = shlex.quote(run.store.url)
    spec = shlex.quote(f"{run.store}/spec.yaml")
    key = next((picture.key for sheet in sheets for picture in sheet.synthetic), "KEY")
    commands = [
        ("Make the shards, or go on making them", f"generate {spec} --out {folder}"),
        ("Ask whether they help", f"sweep {spec} --out {folder}"),
        ("Measure how near they are to real images", f"measure {folder}"),
        ("Check every byte and label", f"verify {folder}"),
        ("Make one image again", f"replay {folder} {key}"),
    ]
    return [(purpose, f"python -m jobs {command}") for purpose, command in commands]


def _environment() -> Environment:
    # Prompts, class names and model cards are other people's text: everything is escaped.
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
        "name": lambda text: _cut(str(text), _NAME),
        "duration": _duration,
        "megabytes": megabytes,
        "place": lambda value: f"{value:.2f}%",
    }
    environment.filters.update(filters)
    return environment


def _duration(seconds: float) -> str:
    """In words: 12.3 s, 4 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
