"""Small runs to sweep, and a finished sweep."""

from pathlib import Path

import pytest

from engine.config.data_spec import SourceSettings, SplitSpec
from engine.config.output_spec import ImageSpec, OutputSpec
from engine.config.spec import PlanSpec, Spec, SweepSpec
from engine.config.train_spec import TrainSpec
from engine.evaluation.sweep import Sweep, prepare_sweep
from engine.generators.kinds.text_to_image import TextToImageSettings
from engine.run.run import Run, begin_run, plan_run
from engine.worker.runner import run_unit
from tests.engine.fakes import FakeGenerator
from tests.specs import data_spec

DATA = data_spec(source="digits", splits=SplitSpec(world=0.5, train=0.1, validation=0.2, test=0.2), train_per_class=3)
SWEEP = SweepSpec(alphas=(0.5,), seeds=2, arms={"oversampling": {"balance": "oversample"}})
TRAIN = TrainSpec(steps=4, batch_size=8, checkpoint_every=1)


def make_sweep_run(
    folder: Path,
    data: SourceSettings | None = DATA,
    sweep: SweepSpec = SWEEP,
    train: TrainSpec = TRAIN,
    per_class: int = 4,
) -> Run:
    """Make a finished run over the digits with drawn images; the model in its folder is never loaded."""
    source = folder / "model"
    source.mkdir()
    (source / "model_index.json").write_text("{}")
    spec = Spec(
        name="x",
        data=data,
        classes=None if data else ("a", "b"),
        plan=PlanSpec(per_class=per_class),
        model=TextToImageSettings(source=str(source), batch_size=4),
        output=OutputSpec(samples_per_shard=25, image=ImageSpec(size=8)),
        sweep=sweep,
        train=train,
    )
    run = begin_run(plan_run(spec), folder / "run")
    for number in run.pending():
        run_unit(run.context, number, FakeGenerator(), run.shards)
    return run


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Return a sweep whose trials are trained."""
    sweep = prepare_sweep(make_sweep_run(tmp_path_factory.mktemp("sweep")))
    for trial in sweep.pending():
        sweep.run(trial, "cpu")
    return sweep
