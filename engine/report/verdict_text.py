"""The verdict of a sweep in sentences."""

from engine.evaluation.sweep_result import ArmResult, Interval, NearCopy, SweepResult

METRIC_NAMES = {"accuracy": "accuracy", "mean_iou": "mean IoU"}


def verdict(result: SweepResult) -> str:
    """Return whether synthetic images helped, and how they compare with the best alternative without them."""
    return " ".join(part for part in (_gain(result), _comparison(result)) if part)


def arm_title(arm: ArmResult, alpha_star: float | None = None) -> str:
    """Return an arm's name for readers, like "alpha 0.5" or "class weights"; the arm at alpha_star is "alpha* 0.5"."""
    if arm.alpha is None:
        return arm.name.replace("_", " ")
    return f"{'alpha*' if arm.alpha == alpha_star else 'alpha'} {arm.alpha:g}"


def near_copy_text(copy: NearCopy) -> str:
    """Return which held-out image looks like which training image."""
    relation = "the mirror image" if copy.mirrored else "a copy"
    return f"{copy.held_out} is {relation} of {copy.train}"


def _gain(result: SweepResult) -> str:
    unit = " mean IoU" if result.metric == "mean_iou" else ""
    baseline = f"real images alone ({100 * result.baseline.quality.mean:.1f}%{unit})"
    if result.alpha_star == 0:
        return f"Synthetic data did not help: no fraction beats {baseline}."
    lift, over = result.chosen.lift, f"over {baseline} on real validation"
    if lift.low <= 0:
        return f"No help was shown: the best fraction, alpha {result.alpha_star:g}, gives {points(lift)} {over}."
    # The best of several arms is partly the best by chance, so the test split has to confirm it.
    if result.test_lift is not None and result.test_lift.low <= 0:
        test = f"{points(result.test_lift)} on the test split, which had no part in the choice"
        return f"No help was shown: alpha {result.alpha_star:g} gives {points(lift)} {over}, but {test}."
    return f"Synthetic data helped: alpha {result.alpha_star:g} gives {points(lift)} {over}{_gap(result)}."


def _gap(result: SweepResult) -> str:
    if result.gap_closed is None or result.oracle is None:
        return ""
    oracle = 100 * result.oracle.quality.mean
    return f", which closes {100 * result.gap_closed:.0f}% of the gap to the oracle ({oracle:.1f}%)"


def _comparison(result: SweepResult) -> str:
    """Compare the best arm with synthetic images with the best alternative without them."""
    lead = result.lead_over_best_baseline
    if result.best_baseline is None or lead is None:
        return ""
    best = _with_quality(result, result.best_synthetic)
    is_chosen = result.best_synthetic == result.chosen.name
    subject = "It" if is_chosen else f"The best with synthetic images, {best},"
    baseline = f"the best alternative, {_with_quality(result, result.best_baseline)}"
    if lead.low > 0:
        return f"{subject} beats {baseline}, by {points(lead)}."
    if lead.high < 0:
        behind = points(Interval(mean=-lead.mean, low=-lead.high, high=-lead.low))
        return f"But {baseline}, is better by {behind}{'' if is_chosen else f' than {best}'}."
    return f"{subject} cannot be told apart from {baseline}: {points(lead)}."


def _with_quality(result: SweepResult, name: str) -> str:
    return f"{name.replace('_', ' ')} ({100 * result.by_name[name].quality.mean:.1f}%)"


def points(interval: Interval) -> str:
    """Return an interval in percentage points with signs."""
    return f"{100 * interval.mean:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
