"""A measure of another distribution: its columns appear in measures.json and in the command's table."""

import os
import subprocess
import sys
from pathlib import Path

from engine.evaluation.measure_result import ALL_CLASSES, MeasureResult
from shards.storage.open_store import open_store
from tests.conftest import ROOT
from tests.engine.evaluation.sweep_runs import make_sweep_run

PLUGIN = """
from typing import Literal
import numpy as np
from engine.evaluation.measure_plugin import MEASURES, Measure, MeasureSettings
from engine.evaluation.measure_result import Column

class CentreSettings(MeasureSettings):
    name: Literal["centre"]

class CentreDistance(Measure):
    columns = (Column(name="centre", title="centre distance", decimals=4),)

    def compute(self, images):
        real, synthetic = images.pair
        return {"centre": float(np.linalg.norm(real.mean(axis=0) - synthetic.mean(axis=0)))}

MEASURES.register(CentreSettings, CentreDistance)
"""


def test_a_measure_of_another_distribution_gets_its_column(tmp_path: Path) -> None:
    (tmp_path / "centre_measure.py").write_text(PLUGIN)
    metadata = tmp_path / "centre_measure-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: centre_measure\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[shardmill.measures]\ncentre = centre_measure\n")
    run = make_sweep_run(tmp_path, per_class=8)
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "measure", run.store.url],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "centre distance" in done.stdout
    result = MeasureResult.read(open_store(run.store.url))
    assert result is not None
    assert [column.name for column in result.columns][-2:] == ["copies", "centre"]
    values = {row.class_name: row.values["centre"] for row in result.rows if row.strategy != "real (world)"}
    whole = values.pop(ALL_CLASSES)
    assert whole is not None
    assert values.keys() == set(result.classes)
    assert min(filter(None, values.values())) < whole < max(filter(None, values.values()))
