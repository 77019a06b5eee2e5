"""Distances from real images, and the charts' axes."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.config.train_spec import TrainSpec
from engine.data.splits import SPLITS
from engine.evaluation.measure_result import (
    ALL_CLASSES,
    REAL,
    Column,
    CopySearch,
    EncoderInfo,
    MeasureResult,
    MeasureRow,
    ReferenceSplit,
)
from engine.evaluation.sweep_result import ArmResult, Interval, NearCopies, SweepResult
from engine.report.axis import fit_axis
from engine.report.gain_scatter import gain_scatter
from engine.run.run import Run
from tests.engine.report.page_reader import read_page


def results_of(run: Run) -> tuple[SweepResult, MeasureResult]:
    sweep, measured = SweepResult.read(run.store), MeasureResult.read(run.store)
    assert sweep is not None
    assert measured is not None
    return sweep, measured


def test_table_has_every_row_and_names_the_encoder(measured: Run) -> None:
    text, (_, result) = read_page(measured).text, results_of(measured)
    assert result.encoder.description in text
    for column in result.columns:
        assert column.title in text
    for row in result.rows:
        name = row.strategy if row.class_name == ALL_CLASSES else f"{row.class_name} {row.strategy}"
        fd = "" if row.values["fd"] is None else f"{row.values['fd']:.1f} "
        kd = f"{row.values['kd']:.3f} ± {row.values['kd_standard_error']:.3f}"
        assert f"{name} {row.compared} {fd}{kd} {row.values['precision']:.2f}" in text


def test_gains_are_plotted_against_distances(measured: Run) -> None:
    page, (sweep, result) = read_page(measured), results_of(measured)
    gains = np.subtract(*(np.array(sweep.by_alpha[alpha].recall, float) for alpha in (0.5, 0.0)))
    (plot,) = [figure for figure in page.of_class("plot") if "Gain" in (figure["aria-label"] or "")]
    for name, gain in zip(sweep.classes, gains, strict=True):
        rows = [row for row in result.rows if row.class_name == name and row.strategy != REAL]
        distance = np.mean([row.values["kd"] for row in rows])
        assert f"{name} {100 * gain:+.1f} at {distance:.3f};" in (plot["aria-label"] or "")
    assert len(page.of_class("dot")) == 10


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(2, 8))
def test_axis_holds_its_values_and_ticks(values: list[float], ticks: int) -> None:
    axis = fit_axis(values, ticks)
    assert all(0 < axis.at(value) < 100 for value in values)
    assert all(0 <= axis.at(tick) <= 100 for tick in axis.ticks)
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert 1 <= len(axis.ticks) <= 2 * ticks + 1


@given(st.lists(st.tuples(st.text(min_size=1, max_size=12), st.floats(0, 2), st.floats(0, 1)), min_size=2, max_size=20))
def test_labels_of_the_scatter_touch_nothing(classes: list[tuple[str, float, float]]) -> None:
    distances = {name: distance for name, distance, _ in classes}
    gains = {name: gain for name, _, gain in classes}
    chart = gain_scatter(two_arms(gains), measures(distances))
    if len(gains) < 2:
        assert chart is None
        return
    assert chart is not None
    boxes = []
    for dot in chart.dots:
        x, y = 205 * chart.distance.at(dot.distance) / 100, 320 * (100 - chart.gain.at(dot.gain)) / 100
        width = 7 * len(dot.name)
        left = {"right": x + 7, "left": x - 7 - width, "above": x - width / 2, "below": x - width / 2}
        top = {"right": y - 7.5, "left": y - 7.5, "above": y - 22, "below": y + 7}
        if dot.side:
            boxes.append((left[dot.side], top[dot.side], left[dot.side] + width, top[dot.side] + 15))
    assert all(a >= 0 and c <= 205 for a, _, c, _ in boxes)
    for box, other in combinations(boxes, 2):
        assert box[0] >= other[2] or other[0] >= box[2] or box[1] >= other[3] or other[1] >= box[3]


def two_arms(gains: dict[str, float]) -> SweepResult:
    """Return a sweep whose baseline recalls nothing, and whose alpha 1 has these recalls."""
    confusion = ((0,) * len(gains),) * len(gains)

    def arm(alpha: float, recall: list[float]) -> ArmResult:
        level = Interval(mean=alpha, low=alpha, high=alpha)
        return ArmResult(
            name=f"alpha-{alpha:g}",
            alpha=alpha,
            changes={},
            quality=level,
            lift=level,
            quality_per_seed=(alpha,),
            macro_f1=None,
            scores={"macro_f1": 0.5},
            recall=tuple(recall),
            confusion=confusion,
        )

    return SweepResult(
        metric="accuracy",
        classes=tuple(gains),
        arms=(arm(0.0, [0.0] * len(gains)), arm(1.0, list(gains.values()))),
        alternatives=(),
        oracle=None,
        alpha_star=1.0,
        alpha_star_range=(1.0, 1.0),
        test_lift=None,
        gap_closed=None,
        best_synthetic="alpha-1",
        best_baseline=None,
        lead_over_best_baseline=None,
        seeds=1,
        train=TrainSpec(),
        real_images=dict.fromkeys(SPLITS, 0),
        near_copies=NearCopies(count=0, listed=()),
        fingerprint="",
    )


def measures(distances: dict[str, float]) -> MeasureResult:
    """Return measures with one column of these distances."""
    return MeasureResult(
        encoder=EncoderInfo(name="x", revision="", description="", knows_classes=False),
        reference=ReferenceSplit(split="validation", images=1),
        classes=tuple(distances),
        columns=(Column(name="kd", title="KD (x)", decimals=3, standard_error="error"),),
        rows=tuple(
            MeasureRow(
                strategy="x", class_name=name, images=1, compared=1, real=1, values={"kd": distance, "error": 0.0}
            )
            for name, distance in distances.items()
        ),
        outliers=(),
        copies=CopySearch(count=0, real_images=0, listed=()),
        closest=(),
        fingerprint="",
    )
