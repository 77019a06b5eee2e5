"""The whole way: the shipped spec, one command, the embedded model, and the claim that it helps."""

import json
from pathlib import Path

from tests.conftest import Jobs, text_of

# Fewer arms and seeds than the demo's, to be done within a minute or two.
FEWER = ("--set", "sweep.alphas=[0.5]", "--set", "sweep.seeds=3")


def test_ten_real_images_a_class_and_the_rest_synthetic(jobs: Jobs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = jobs("experiment", "jobs/specs/digits.yaml", "--out", run, *FEWER, timeout=500)
    assert found.returncode == 0, text_of(found)
    assert f"report: {run}/report.html" in found.stdout
    verified = jobs("verify", run)
    assert verified.returncode == 0, text_of(verified)
    assert "2,300 images" in verified.stdout

    answer = json.loads((run / "sweep.json").read_text())
    arms = [*answer["arms"], *answer["alternatives"], answer["oracle_arm"]]
    assert [arm["name"] for arm in arms] == ["alpha-0", "alpha-0.5", "augmentation", "oracle"]
    assert [len(arm["points"]) for arm in arms] == [3] * 4
    measured = json.loads((run / "measures.json").read_text())
    assert {row["class_name"] for row in measured["rows"]} >= set(answer["classes"])
    assert answer["alpha_star"] == 0.5
    assert answer["lift"]["low"] > 0, "the gain is beyond noise"
    # At least half of the gap between all-real and a classifier of all real images; measured: about nine tenths.
    assert answer["oracle"] - answer["baseline"] > 0.03
    assert answer["gap_closed"] >= 0.5
    assert answer["verdict"] in (run / "report.html").read_text()

    again = jobs("sweep", "jobs/specs/digits.yaml", "--out", run, *FEWER)
    assert again.returncode == 0, text_of(again)
    assert "seed" not in again.stdout, "no training is repeated"
    assert json.loads((run / "sweep.json").read_text()) == answer
