"""The table of measures: compared groups, equal sample counts, and blank cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.encoders import margins
from engine.evaluation.image_groups import GroupFeatures
from engine.evaluation.measure_plugin import all_measures
from engine.evaluation.measure_result import ALL_CLASSES, REAL, EncoderInfo, MeasureRow
from engine.evaluation.measure_rows import MeasureGroup, fit_to_classes, make_rows
from engine.evaluation.measures.fd import fd
from engine.evaluation.measures.kd import kd
from engine.evaluation.measures.manifold import manifold

CLASSES = ("a", "b", "c")


def encoded(counts: dict[int, int], seed: int, shift: float = 0.0, scores: bool = False) -> GroupFeatures:
    """Return images of each class, whose features are normally distributed around their label."""
    random = np.random.default_rng(seed)
    label = np.repeat(list(counts), list(counts.values())).astype(np.int64)
    features = random.normal(size=(len(label), 4)) + 5 * label[:, None] + shift
    key = np.array([f"{seed}-{i}" for i in range(len(label))])
    scored = random.normal(size=(len(label), 3)) + 3 * np.eye(3)[label] if scores else None
    return GroupFeatures(key, label, np.zeros((len(label), 192), np.float32), features, scored)


def group(counts: dict[int, int], seed: int, shift: float = 0.0) -> MeasureGroup:
    return MeasureGroup(encoded(counts, seed, shift), None, None)


ENCODER = EncoderInfo(name="x/y", revision="", description="", knows_classes=True)
COMPARISONS = ("fd", "kd", "precision", "recall", "density", "coverage")


def rows_by_key(groups: dict[str, MeasureGroup], real: GroupFeatures) -> dict[tuple[str, str], MeasureRow]:
    return {(row.strategy, row.class_name): row for row in make_rows(groups, real, CLASSES, all_measures(ENCODER))}


def value(row: MeasureRow, name: str) -> float:
    number = row.values[name]
    assert number is not None
    return number


REFERENCE = encoded({0: 30, 1: 20, 2: 3}, seed=0)


def test_strategies_are_compared_by_equally_many_images() -> None:
    groups = {"one": group({0: 40, 1: 12}, 1), "other": group({0: 15, 1: 50}, 2), REAL: group({0: 9, 1: 90}, 3)}
    rows = rows_by_key(groups, REFERENCE)
    assert {key: row.compared for key, row in rows.items()} == {
        ("one", ALL_CLASSES): 27, ("one", "a"): 15, ("one", "b"): 12,
        ("other", ALL_CLASSES): 27, ("other", "a"): 15, ("other", "b"): 12,
        (REAL, ALL_CLASSES): 21, (REAL, "a"): 9, (REAL, "b"): 12,
    }  # fmt: skip
    assert rows["one", "a"].images == 40
    features, theirs = groups["one"].images.features[:15], REFERENCE.features[:30]
    row = rows["one", "a"]
    mean, standard_error = kd(theirs, features)
    assert row.values == {
        "fd": fd(theirs, features),
        "kd": mean,
        "kd_standard_error": standard_error,
        **manifold(theirs, features),
        **dict.fromkeys(("margin", "outliers", "copies")),
    }


def test_other_shares_of_the_classes_are_no_distance() -> None:
    """The images of each class are equally distributed; only the class shares differ."""
    real = encoded({0: 400, 1: 40}, seed=1)
    rows = rows_by_key({"x": group({0: 40, 1: 400}, 2)}, real)
    whole, row_a, row_b = rows["x", ALL_CLASSES], rows["x", "a"], rows["x", "b"]
    assert value(whole, "kd") == pytest.approx((value(row_a, "kd") + value(row_b, "kd")) / 2)
    errors = value(row_a, "kd_standard_error"), value(row_b, "kd_standard_error")
    assert value(whole, "kd_standard_error") == pytest.approx(np.hypot(*errors) / 2)
    assert abs(value(whole, "kd")) < 4 * value(whole, "kd_standard_error")
    assert value(whole, "recall") == pytest.approx((value(row_a, "recall") + value(row_b, "recall")) / 2)
    assert value(whole, "fd") < 1 < fd(real.features, encoded({0: 40, 1: 400}, 2).features)


def test_classes_with_too_few_images_have_blanks() -> None:
    rows = rows_by_key({"one": group({0: 5, 1: 30, 2: 30}, 1), "other": group({0: 30, 1: 30}, 2)}, REFERENCE)
    for few in (rows["one", "a"], rows["one", "c"]):  # a has 5 images; c has 30, but only 3 real ones
        assert {few.values[name] for name in COMPARISONS} == {None}
    assert rows["other", "a"].compared == 30
    assert rows["other", "a"].values["kd"] is not None
    assert rows["one", ALL_CLASSES].compared == 30, "only class b counts"
    assert rows["one", ALL_CLASSES].images == 65
    assert rows["one", ALL_CLASSES].values["kd"] == rows["one", "b"].values["kd"]
    nothing = rows_by_key({"x": group({2: 30}, 1)}, REFERENCE)["x", ALL_CLASSES]
    assert (nothing.compared, {nothing.values[name] for name in COMPARISONS}) == (0, {None})


def test_rows_come_class_by_class_strategy_by_strategy() -> None:
    groups = {"one": group({0: 9, 2: 9}, 1), "other": group({0: 9}, 2)}
    order = [(row.class_name, row.strategy) for row in make_rows(groups, REFERENCE, CLASSES, [])]
    assert order == [(ALL_CLASSES, "one"), (ALL_CLASSES, "other"), ("a", "one"), ("a", "other"), ("c", "one")]


def test_outliers_fit_worse_than_real_images_of_their_class() -> None:
    real = encoded({0: 500, 1: 500, 2: 500}, seed=1, scores=True)
    same = encoded({0: 500, 1: 500, 2: 500}, seed=2, scores=True)
    fit = fit_to_classes(same, real)
    assert fit is not None
    assert 0.002 < fit.outlier.mean() < 0.03, "about 1% of images of the right class are outliers"
    assert same.scores is not None
    wrong = GroupFeatures(same.key, (same.label + 1) % 3, same.small, same.features, same.scores)
    worse = fit_to_classes(wrong, real)
    assert worse is not None
    assert worse.outlier.mean() > 0.9
    assert (worse.best_other == same.label).mean() > 0.9
    counted = rows_by_key({"x": MeasureGroup(same, fit, fit.outlier)}, real)
    whole = counted["x", ALL_CLASSES].values
    assert whole["outliers"] == whole["copies"] == fit.outlier.sum()
    assert counted["x", "b"].values["margin"] == pytest.approx(fit.margin[same.label == 1].mean())


def test_without_scores_or_with_one_class_there_are_no_margins() -> None:
    assert fit_to_classes(encoded({0: 9}, 1), encoded({0: 9}, 2)) is None
    features = encoded({0: 9}, 1, scores=True)
    assert features.scores is not None
    alone = GroupFeatures(features.key, features.label, features.small, features.features, features.scores[:, :1])
    assert fit_to_classes(alone, alone) is None


@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 999))
def test_a_margin_is_the_lead_over_the_best_other_class(n: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.normal(size=(n, classes)), random.integers(classes, size=n)
    margin, other = margins(scores, labels)
    for row in range(n):
        best = max((scores[row, c], c) for c in range(classes) if c != labels[row])
        assert (margin[row], other[row]) == (scores[row, labels[row]] - best[0], best[1])
    assert ((margin > 0) == (scores.argmax(axis=1) == labels)).all()
