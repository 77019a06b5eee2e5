"""The training loop of one worker. Every step follows from its number, so a resumed training ends the same."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.config.train_spec import TrainSpec
from engine.errors import ModelError
from engine.training.checkpoint import Checkpoint
from engine.training.classifier.augmentation import Augmentation
from engine.training.classifier.evaluate import MaskPredictions, Predictions, evaluate
from engine.training.classifier.history import Row, with_scores
from engine.training.classifier.loss import mean_loss
from engine.training.classifier.metrics import Scores
from engine.training.classifier.network_factory import Network, build_network, load_weights
from engine.training.classifier.train_worker import TrainWorker
from engine.training.classifier.training_data import (
    TrainData,
    epoch_images,
    loss_weights,
    pixel_statistics,
    real_and_synthetic,
    total_steps,
)
from engine.training.optimizer import learning_rate, set_learning_rate
from shards import MixedStream, ShardStream
from shards.loader import ShardLoader

_EVALUATIONS = 10

ProgressCallback = Callable[[Sequence[Row], int, int], None]
"""Takes the new rows, the number of the last step, and the number of all steps."""


class BestEvaluation(NamedTuple):
    """The best evaluation so far, and the step after which it was made."""

    step: int
    quality: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class TrainedClassifier:
    """A finished training.

    step: whose weights the model has. rows: of all steps, see `history`.
    scores, predictions, keys: of validation, and of test if there is one.
    """

    model: Network
    step: int
    rows: Sequence[Row]
    scores: Mapping[str, Scores]
    predictions: Mapping[str, Predictions | MaskPredictions]
    keys: Mapping[str, Sequence[str]]


def initial_network(spec: TrainSpec, classes: Sequence[str], real: ShardStream) -> Network:
    """Return the network before the first step, for images of the stream's size. Raises what `build_network` does."""
    height, width = real.read([0]).image.shape[1:3]
    return build_network(spec, (height, width), classes, pixel_statistics(spec, real))


def noop_progress(rows: Sequence[Row], step: int, steps: int) -> None:
    """Ignore progress."""


class Trainer:
    """One training, on one of its workers. Raises what the streams of `data` and `build_network` raise."""

    def __init__(
        self, spec: TrainSpec, data: TrainData, worker: TrainWorker, checkpoint: Checkpoint | None = None
    ) -> None:
        self._spec, self._worker, self._checkpoint = spec, worker, checkpoint
        self._evaluation_streams = data.evaluation_streams(spec, worker.threads)
        mix = data.mix(spec, worker.threads, worker.rank, worker.world_size)
        real, _ = real_and_synthetic(mix)
        self.model = initial_network(spec, data.classes, real).to(worker.device)
        self.steps, self._steps_per_epoch = total_steps(spec, mix), epoch_images(spec, mix) / spec.batch_size
        weights = loss_weights(spec, mix, len(data.classes))
        self._loss_weights = None if weights is None else worker.tensor(weights)
        positions = slice(worker.rank, spec.batch_size, worker.world_size)
        self._augment = Augmentation(spec.augment, spec.seed, spec.batch_size, positions)
        self._parallel_model = worker.data_parallel(self.model)
        # Fused, because its share counts with small batches: on one core a step of ResNet-34 takes 172 ms, not 240.
        self._adam = torch.optim.AdamW(
            self.model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
        )
        self._scaler = torch.amp.GradScaler(torch.device(worker.device).type, enabled=worker.precision == "fp16")
        self._losses: list[Tensor] = []
        self._rows: list[Row] = []
        self._best: BestEvaluation | None = None
        self._done, self._evaluations_since_best = 0, 0
        self._loader = self._resume(mix)

    @property
    def done(self) -> int:
        """Steps that are done, earlier processes included."""
        return self._done

    def run(self, on_progress: ProgressCallback = noop_progress) -> TrainedClassifier:
        """Train to the end, and evaluate validation and test. Raises ModelError if the loss is not finite."""
        evaluate_every = self._spec.evaluate_every or max(1, self.steps // _EVALUATIONS)
        if not self._stops_early():
            for batch in self._loader:
                self._losses.append(self._step(batch))
                self._done += 1
                evaluates = self._done == self.steps or self._done % evaluate_every == 0
                if evaluates or self._done % self._spec.checkpoint_every == 0:
                    on_progress(self._flush(evaluates), self._done, self.steps)
                    self._save()
                if self._stops_early():
                    break
        return self._finish()

    def _stops_early(self) -> bool:
        patience = self._spec.early_stopping
        return patience is not None and self._evaluations_since_best >= patience

    def _step(self, batch: Mapping[str, Any]) -> Tensor:
        spec, worker = self._spec, self._worker
        masks: Tensor | None = batch.get("mask")
        masks = None if masks is None else masks.to(worker.device)
        images, masks = self._augment(batch["image"].to(worker.device), masks, self._done)
        set_learning_rate(self._adam, learning_rate(spec, self._done, self.steps))
        self._parallel_model.train()
        with worker.seeded(spec.seed, "layers", self._done), worker.autocast():
            logits = self._parallel_model(images)
        target = batch["label"].to(worker.device) if masks is None else masks.long()
        loss = mean_loss(logits.float(), target, spec.label_smoothing, self._loss_weights)
        self._adam.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._adam)
        self._scaler.update()
        return loss.detach()

    def _flush(self, evaluates: bool) -> list[Row]:
        """Return the rows since the last time. All ranks do this after the same steps."""
        losses = self._worker.mean_over_ranks(torch.stack(self._losses)).tolist()
        self._losses.clear()
        rows = [self._row(step, loss) for step, loss in enumerate(losses, self._done - len(losses) + 1)]
        if evaluates:
            scores, _ = evaluate(self.model, self._evaluation_streams["validation"], self._worker)
            rows[-1] = with_scores(rows[-1], scores)
            self._keep_best(scores)
        self._rows += rows
        return rows

    def _row(self, step: int, loss: float) -> Row:
        if not math.isfinite(loss):
            raise ModelError(f"step {step}: the loss is {loss}; lower train.learning_rate, or raise train.warmup")
        rate = learning_rate(self._spec, step - 1, self.steps)
        return {"step": step, "epoch": step / self._steps_per_epoch, "learning_rate": rate, "loss": loss}

    def _keep_best(self, scores: Scores) -> None:
        if self._spec.early_stopping is None:
            return
        if self._best is not None and scores.quality <= self._best.quality:
            self._evaluations_since_best += 1
            return
        weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self._best, self._evaluations_since_best = BestEvaluation(self._done, scores.quality, weights), 0

    def _save(self) -> None:
        if self._checkpoint is None or self._worker.rank:
            return
        self._checkpoint.save(
            {
                "model": self.model.state_dict(),
                "adam": self._adam.state_dict(),
                "scaler": self._scaler.state_dict(),
                "stream": self._loader.state_dict(),
                "rows": self._rows,
                "done": self._done,
                "evaluations_since_best": self._evaluations_since_best,
                "best": None if self._best is None else self._best._asdict(),
            }
        )

    def _resume(self, mix: MixedStream) -> ShardLoader:
        """Return a loader of the batches that remain after the checkpoint."""
        state = None if self._checkpoint is None else self._checkpoint.load()
        if state is None:
            return ShardLoader(mix, self.steps)
        load_weights(self.model, state["model"])
        self._adam.load_state_dict(state["adam"])
        self._scaler.load_state_dict(state["scaler"])
        self._rows, self._done = state["rows"], state["done"]
        self._evaluations_since_best = state["evaluations_since_best"]
        self._best = None if state["best"] is None else BestEvaluation(**state["best"])
        loader = ShardLoader(mix, self.steps - self._done)
        loader.load_state_dict(state["stream"])
        return loader

    def _finish(self) -> TrainedClassifier:
        step = self._done
        if self._best is not None:
            step = self._best.step
            load_weights(self.model, self._best.weights)
        scores, predictions, keys = {}, {}, {}
        for split, stream in self._evaluation_streams.items():
            scores[split], predictions[split] = evaluate(self.model, stream, self._worker)
            keys[split] = stream.index.keys.take(stream.rows).to_pylist()
        return TrainedClassifier(self.model, step, self._rows, scores, predictions, keys)
