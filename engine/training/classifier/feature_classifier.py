"""A classifier whose features compare images: trained on the real world split alone, which no other classifier sees."""

from engine.config.train_spec import DEFAULT_STEPS, TrainSpec
from engine.run.run import Run
from engine.training.classifier.network_factory import Network
from engine.training.classifier.train_worker import TrainWorker
from engine.training.classifier.trainer import Trainer
from engine.training.classifier.training_data import TrainData
from shards.storage.manifest import finished_shards


def train_encoder(run: Run) -> Network:
    """Train the default classifier on the world split, for as many steps as the spec trains others.

    Every call on one machine returns the same network. `leakage.prepare_real` must have written the real shards.
    """
    real = run.store / "real"
    steps = run.context.spec.train.steps or DEFAULT_STEPS
    judge = next(split for split in ("validation", "train", "world") if finished_shards(real / split))
    data = TrainData((real / "world").url, None, (real / judge).url, None, run.context.plan.classes)
    return Trainer(TrainSpec(alpha=0.0, steps=steps, evaluate_every=steps), data, TrainWorker()).run().model
