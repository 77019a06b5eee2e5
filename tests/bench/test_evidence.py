"""The table of an experiment holds the results of its sweep."""

from pathlib import Path

import cv2
import pytest

from bench.evidence import EVIDENCE, content_of, table
from bench.evidence_plot import plot
from engine.evaluation.comparison import write_sweep
from engine.evaluation.sweep import prepare_sweep
from engine.evaluation.sweep_result import SweepResult
from engine.run.run import load_run
from tests.conftest import ROOT
from tests.engine.evaluation.sweep_runs import make_sweep_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    sweep = prepare_sweep(make_sweep_run(folder))
    for trial in sweep.pending():
        sweep.run(trial, "cpu")
    write_sweep(sweep, [])
    return folder / "run"


def test_arms_are_those_of_the_sweep(folder: Path, tmp_path: Path) -> None:
    run = load_run(str(folder))
    sweep = SweepResult.read(run.store)
    assert sweep is not None
    commands = ["python -m jobs experiment x"]
    content = content_of(EVIDENCE["rebalance"], {"": run}, {"": sweep}, commands)
    assert [arm["name"] for arm in content["arms"]] == ["alpha-0", "alpha-0.5", "oversampling", "oracle"]
    for arm in content["arms"]:
        swept = sweep.by_name[arm["name"]]
        assert arm["accuracy"] == swept.quality.mean
        assert arm["seeds"] == list(swept.quality_per_seed)
        assert arm["ci95"]["accuracy"] == [swept.quality.low, swept.quality.high]
    assert content["generator"]["all"]["images"] == 40
    assert content["protocol"]["real_train_of_each_class"]["zero"] == 3
    text = table("rebalance", content)
    assert f"| alpha-0 | {100 * sweep.baseline.quality.mean:.1f} [" in text
    assert "| +0.0 [+0.0, +0.0] |" in text
    plot({"": sweep}, tmp_path / "plot.png")
    assert cv2.imread(str(tmp_path / "plot.png")).std() > 10


@pytest.mark.parametrize("name", EVIDENCE)
def test_the_specs_are_shipped(name: str) -> None:
    assert (ROOT / EVIDENCE[name].spec).is_file()
