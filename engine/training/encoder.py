"""The classifier whose features tell images apart: trained on the real world split alone, which no classifier sees."""

from engine.run import Run
from engine.spec.train import DEFAULT_STEPS, TrainSpec
from engine.training.data import TrainData
from engine.training.models import Model
from engine.training.trainer import Trainer
from engine.training.worker import Worker
from shards.finished import finished


def train_encoder(run: Run) -> Model:
    """A small network, the same at every call on the same machine, for as many steps as the spec trains others.

    `realdata.prepare_real` comes first.
    """
    real = run.store / "real"
    steps = run.recipe.spec.train.steps or DEFAULT_STEPS
    judge = next(split for split in ("validation", "train", "world") if finished(real / split))
    data = TrainData((real / "world").url, None, (real / judge).url, None, run.recipe.plan.classes)
    return Trainer(TrainSpec(alpha=0.0, steps=steps, evaluate_every=steps), data, Worker()).run().model
