"""The verdict, the curve and the alternatives on the page."""

import re
from pathlib import Path

from engine.evaluation.sweep_result import SweepResult
from engine.report.verdict_text import verdict
from engine.run.run import Run
from tests.engine.report.page_reader import read_page
from tests.engine.report.report_runs import HELPED, HURT, NOISE, copy_of, make_run, write_results


def sweep_of(run: Run) -> SweepResult:
    sweep = SweepResult.read(run.store)
    assert sweep is not None
    return sweep


def test_verdict_has_its_numbers(helped: Run) -> None:
    text, sweep = read_page(helped).text, sweep_of(helped)
    assert verdict(sweep).startswith("Synthetic data helped: alpha 0.5")
    assert sweep.test_lift is not None
    assert sweep.oracle is not None
    for expected in (
        verdict(sweep),
        f"{100 * sweep.chosen.lift.mean:+.1f} points",
        f"{100 * sweep.test_lift.low:+.1f} to",
        f"{sweep.baseline.quality.mean:.1%}",
        f"{sweep.oracle.quality.mean:.1%}",
        f"{sweep.arms[1].quality_per_seed[0]:.1%}",
        f"The baseline trains on 50 of {sum(sweep.real_images.values()):,} real images",
    ):
        assert expected in text


def test_no_help_is_stated_as_prominently(hurt: Run) -> None:
    page = read_page(hurt)
    assert 'id="verdict-title">Synthetic data did not help: no fraction beats real images alone' in page.html
    assert "Best mixture, alpha 0.5" in page.text


def test_missing_splits_are_stated(tmp_path: Path) -> None:
    splits = "splits: {world: 0, train: 0.5, validation: 0.5, test: 0}"
    run = make_run(tmp_path, NOISE.replace("train_per_class: 5", f"train_per_class: 5, {splits}"))
    write_results(run, HELPED)
    text = read_page(run).text
    assert "Lift on the test split not measured" in text
    assert "Oracle: trained on the world split not known" in text


def test_held_out_images_that_are_copies_are_named(helped: Run, hurt: Run) -> None:
    assert "held-out" not in read_page(helped).text
    text = read_page(hurt).text
    assert "1 held-out image looks like a training image" in text
    assert "validation0000007 is the mirror image of train0000001" in text


def test_without_a_sweep_the_command_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a folder", NOISE)
    text = read_page(run).text
    assert "no sweep was run" in text
    assert f"python -m jobs sweep '{run.store}/spec.yaml' --out '{run.store}'" in text
    assert "alpha*" not in text


def test_curve_draws_every_arm_and_seed(helped: Run) -> None:
    page = read_page(helped)
    drawn = [(tag, attributes["class"]) for tag, attributes in page.tags if tag in ("circle", "rect", "line")]
    counts = {name: drawn.count(("circle", name)) for name in ("seed", "mean", "ring")}
    assert counts == {"seed": 9, "mean": 3, "ring": 1}
    assert drawn.count(("rect", "band")) == 2
    assert drawn.count(("line", "mean synthetic")) == 2


def test_alternatives_are_between_baseline_and_oracle(swept: Run) -> None:
    page, sweep = read_page(swept), sweep_of(swept)
    rows = re.findall(r"(\S+) \d+\.\d% \d+\.\d% to \d+\.\d%(?: \d+\.\d%)+ [+-]", page.text)
    assert rows == ["oversample", "class_weights", "null", "0.5", "oracle"]
    for arm in (*sweep.alternatives, sweep.by_name["oracle"]):
        assert arm.macro_f1 is not None
        quality, lift = arm.quality, arm.lift
        assert f"{quality.mean:.1%} {quality.low:.1%} to {quality.high:.1%} {arm.macro_f1.mean:.1%}" in page.text
        assert f"{100 * lift.mean:+.1f} {100 * lift.low:+.1f} to" in page.text
    assert "class weights balance class_weights" in page.text  # its name and what it changes
    assert "real images alone" in (page.of_class("arms")[0]["aria-label"] or "")


def test_sweep_without_alternatives_is_explained(tmp_path: Path) -> None:
    run = make_run(tmp_path, NOISE)
    write_results(run, HURT)
    text = read_page(run).text
    assert "sweep.arms of the spec adds some" in text
    assert "synthetic images, alpha = 0.5" in text
    assert "networks of seed 0: real images alone , then alpha 0.5 , each with its confidence" in text


def test_iou_is_shown_for_masks(swept: Run, tmp_path: Path) -> None:
    run = copy_of(swept, tmp_path)
    write_results(run, HELPED, masks=True)
    text = read_page(run).text
    assert "Mean IoU by synthetic fraction" in text
    assert re.search(r"three IoU \d+% IoU \d+%", text)
    assert "macro F1" not in text
