"""The table: who is compared with whom, by how many, and what is left blank."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.distances import fid, kid, manifold
from engine.evaluation.encoders import margins
from engine.evaluation.image_groups import GroupFeatures
from engine.evaluation.measure_rows import ALL, REAL, MeasureGroup, MeasureRow, judge, make_rows

CLASSES = ("a", "b", "c")


def looked(counts: dict[int, int], seed: int, shift: float = 0.0, scores: bool = False) -> GroupFeatures:
    """Images of each class, whose features are normal around their label."""
    random = np.random.default_rng(seed)
    label = np.repeat(list(counts), list(counts.values())).astype(np.int64)
    features = random.normal(size=(len(label), 4)) + 5 * label[:, None] + shift
    key = np.array([f"{seed}-{i}" for i in range(len(label))])
    scored = random.normal(size=(len(label), 3)) + 3 * np.eye(3)[label] if scores else None
    return GroupFeatures(key, label, np.zeros((len(label), 192), np.float32), features, scored)


def group(counts: dict[int, int], seed: int, shift: float = 0.0) -> MeasureGroup:
    return MeasureGroup(looked(counts, seed, shift), None, None)


def found(groups: dict[str, MeasureGroup], real: GroupFeatures) -> dict[tuple[str, str], MeasureRow]:
    return {(row.strategy, row.class_name): row for row in make_rows(groups, real, CLASSES)}


REFERENCE = looked({0: 30, 1: 20, 2: 3}, seed=0)


def test_strategies_are_compared_by_equally_many_images_of_a_class() -> None:
    groups = {"one": group({0: 40, 1: 12}, 1), "other": group({0: 15, 1: 50}, 2), REAL: group({0: 9, 1: 90}, 3)}
    rows = found(groups, REFERENCE)
    assert {key: row.compared for key, row in rows.items()} == {
        ("one", ALL): 27, ("one", "a"): 15, ("one", "b"): 12,
        ("other", ALL): 27, ("other", "a"): 15, ("other", "b"): 12,
        (REAL, ALL): 21, (REAL, "a"): 9, (REAL, "b"): 12,
    }  # fmt: skip
    assert rows["one", "a"].images == 40
    features, theirs = groups["one"].looked.features[:15], REFERENCE.features[:30]
    row = rows["one", "a"]
    assert (row.fid, row.kid, row.manifold) == (
        fid(theirs, features), kid(theirs, features), manifold(theirs, features),
    )  # fmt: skip


def test_of_all_classes_measures_are_means_so_that_shares_of_classes_are_no_distance() -> None:
    """Equal images class by class, but in other shares than reality has."""
    real = looked({0: 400, 1: 40}, seed=1)
    rows = found({"x": group({0: 40, 1: 400}, 2)}, real)
    whole, one, other = rows["x", ALL], rows["x", "a"], rows["x", "b"]
    assert whole.kid is not None
    assert one.kid is not None
    assert other.kid is not None
    assert whole.kid.mean == pytest.approx((one.kid.mean + other.kid.mean) / 2)
    errors = one.kid.standard_error, other.kid.standard_error
    assert whole.kid.standard_error == pytest.approx(np.hypot(*errors) / 2)
    assert abs(whole.kid.mean) < 4 * whole.kid.standard_error
    assert whole.fid is not None
    assert whole.fid < 1 < fid(real.features, looked({0: 40, 1: 400}, 2).features)


def test_classes_with_too_few_images_have_blanks_and_do_not_hold_others_back() -> None:
    rows = found({"one": group({0: 5, 1: 30, 2: 30}, 1), "other": group({0: 30, 1: 30}, 2)}, REFERENCE)
    for few in (rows["one", "a"], rows["one", "c"]):  # 5 images; and 30, but 3 real ones
        assert (few.fid, few.kid, few.manifold) == (None, None, None)
    assert rows["other", "a"].compared == 30
    assert rows["other", "a"].kid is not None
    assert rows["one", ALL].compared == 30, "of class b alone"
    assert rows["one", ALL].images == 65
    assert rows["one", ALL].kid == rows["one", "b"].kid
    nothing = found({"x": group({2: 30}, 1)}, REFERENCE)["x", ALL]
    assert (nothing.compared, nothing.fid, nothing.kid, nothing.manifold) == (0, None, None, None)


def test_rows_come_class_by_class_with_the_strategies_side_by_side() -> None:
    groups = {"one": group({0: 9, 2: 9}, 1), "other": group({0: 9}, 2)}
    order = [(row.class_name, row.strategy) for row in make_rows(groups, REFERENCE, CLASSES)]
    assert order == [(ALL, "one"), (ALL, "other"), ("a", "one"), ("a", "other"), ("c", "one")]


def test_outliers_fit_worse_than_real_images_of_their_class() -> None:
    real = looked({0: 500, 1: 500, 2: 500}, seed=1, scores=True)
    same = looked({0: 500, 1: 500, 2: 500}, seed=2, scores=True)
    fit = judge(same, real)
    assert fit is not None
    assert 0.002 < fit.outlier.mean() < 0.03, "about one of a hundred"
    assert same.scores is not None
    wrong = GroupFeatures(same.key, (same.label + 1) % 3, same.small, same.features, same.scores)
    worse = judge(wrong, real)
    assert worse is not None
    assert worse.outlier.mean() > 0.9
    assert (worse.other == same.label).mean() > 0.9
    counted = found({"x": MeasureGroup(same, fit, fit.outlier)}, real)
    assert counted["x", ALL].outliers == counted["x", ALL].copies == fit.outlier.sum()
    assert counted["x", "b"].margin == pytest.approx(fit.margin[same.label == 1].mean())


def test_without_scores_or_with_one_class_there_are_no_margins() -> None:
    assert judge(looked({0: 9}, 1), looked({0: 9}, 2)) is None
    one = looked({0: 9}, 1, scores=True)
    assert one.scores is not None
    alone = GroupFeatures(one.key, one.label, one.small, one.features, one.scores[:, :1])
    assert judge(alone, alone) is None


@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 999))
def test_a_margin_is_the_lead_over_the_best_other_class(n: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.normal(size=(n, classes)), random.integers(classes, size=n)
    margin, other = margins(scores, labels)
    for row in range(n):
        best = max((scores[row, c], c) for c in range(classes) if c != labels[row])
        assert (margin[row], other[row]) == (scores[row, labels[row]] - best[0], best[1])
    assert ((margin > 0) == (scores.argmax(axis=1) == labels)).all()
