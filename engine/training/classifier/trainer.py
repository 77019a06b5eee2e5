"""The training loop of one worker: steps that follow from their number, and that a kill does not lose."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from engine.training.classifier.training_data import TrainData, epoch_images, loss_weights, real_and_synthetic, pixel_statistics, total_steps
from engine.training.learning_rate import learning_rate
from shards import MixedStream, ShardStream
from shards.loader import ShardLoader

_EVALUATIONS = 10

ProgressCallback = Callable[[Sequence[Row], int, int], None]
"""Told of the rows that are new, the number of the last step, and how many there are to be."""


@dataclass(frozen=True)
class Best:
    """The best evaluation so far. step: after which it was."""

    step: int
    quality: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class TrainedClassifier:
    """A finished training.

    step:        whose weights the model has. rows: of all steps, see `history`.
    scores, predictions, keys: of validation, and of test if there is one.
    """

    model: Network
    step: int
    rows: Sequence[Row]
    scores: Mapping[str, Scores]
    predictions: Mapping[str, Predictions | MaskPredictions]
    keys: Mapping[str, Sequence[str]]


def initial_network(spec: TrainSpec, classes: Sequence[str], real: ShardStream) -> Network:
    """The network before the first step, for images of the size that a stream has. Raises what `models.build` does."""
    height, width = real.read([0]).image.shape[1:3]
    return build_network(spec, (height, width), classes, pixel_statistics(spec, real))


def noop_progress(rows: Sequence[Row], step: int, steps: int) -> None:
    """Tells nobody."""


class Trainer:
    """One training, as one of its workers does it.

    checkpoint: where it is kept and gone on with; None: nowhere.

    Raises what `data.mix`, `data.judged` and `models.build` raise.
    """

    def __init__(self, spec: TrainSpec, data: TrainData, worker: TrainWorker, checkpoint: Checkpoint | None = None) -> None:
        self._spec, self._worker, self._checkpoint = spec, worker, checkpoint
        self._judged = data.judged(spec, worker.threads)
        mix = data.mix(spec, worker.threads, worker.rank, worker.world_size)
        real, _ = real_and_synthetic(mix)
        self.model = initial_network(spec, data.classes, real).to(worker.device)
        self.steps, self._epoch = total_steps(spec, mix), epoch_images(spec, mix) / spec.batch_size
        weights = loss_weights(spec, mix, len(data.classes))
        self._weights = None if weights is None else worker.tensor(weights)
        self._augment = Augmentation(
            spec.augment, spec.seed, spec.batch_size, slice(worker.rank, spec.batch_size, worker.world_size)
        )
        self._parallel = worker.shared(self.model)
        # Fused: with small batches its share counts, on a core 12 ms instead of 80 of the 240 for a step of ResNet-34.
        self._adam = torch.optim.AdamW(
            self.model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
        )
        kind = torch.device(worker.device).type
        self._scaler = torch.amp.GradScaler(kind, enabled=worker.precision == "fp16")
        self._losses: list[Tensor] = []
        self._rows: list[Row] = []
        self._best: Best | None = None
        self._done, self._worse = 0, 0
        self._loader = self._resumed(mix)

    @property
    def done(self) -> int:
        """Steps that are done, also in an earlier process."""
        return self._done

    def run(self, tell: ProgressCallback = noop_progress) -> TrainedClassifier:
        """Train to the end, and look at validation and test. Raises ModelError where the loss is no number any more."""
        every = self._spec.evaluate_every or max(1, self.steps // _EVALUATIONS)
        patience = self._spec.early_stopping
        if patience is None or self._worse < patience:
            for batch in self._loader:
                self._losses.append(self._step(batch))
                self._done += 1
                last = self._done == self.steps
                looks, keeps = last or self._done % every == 0, self._done % self._spec.checkpoint_every == 0
                if looks or keeps:
                    tell(self._flush(looks), self._done, self.steps)
                    self._keep()
                if patience is not None and self._worse >= patience:
                    break
        return self._finish()

    def _step(self, batch: Mapping[str, Any]) -> Tensor:
        spec, worker = self._spec, self._worker
        images, masks = self._augment(batch["image"].to(worker.device), self._masks(batch), self._done)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate(spec, self._done, self.steps)
        self._parallel.train()
        with worker.seeded(spec.seed, "layers", self._done), worker.autocast():
            logits = self._parallel(images)
        target = batch["label"].to(worker.device) if masks is None else masks.long()
        loss = mean_loss(logits.float(), target, spec.label_smoothing, self._weights)
        self._adam.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._adam)
        self._scaler.update()
        return loss.detach()

    def _masks(self, batch: Mapping[str, Any]) -> Tensor | None:
        masks: Tensor | None = batch.get("mask")
        return None if masks is None else masks.to(self._worker.device)

    def _flush(self, looks: bool) -> list[Row]:
        """The rows of the steps since the last time; all ranks do this after the same steps."""
        losses = self._worker.mean(torch.stack(self._losses)).tolist()
        self._losses.clear()
        first = self._done - len(losses)
        rows = [self._row(step, loss) for step, loss in enumerate(losses, first + 1)]
        if looks:
            scores, _ = evaluate(self.model, self._judged["validation"], self._worker)
            rows[-1] = with_scores(rows[-1], scores)
            self._note(scores)
        self._rows += rows
        return rows

    def _row(self, step: int, loss: float) -> Row:
        if not math.isfinite(loss):
            raise ModelError(f"step {step}: the loss is {loss}; lower train.learning_rate, or raise train.warmup")
        rate = learning_rate(self._spec, step - 1, self.steps)
        return {"step": step, "epoch": step / self._epoch, "learning_rate": rate, "loss": loss}

    def _note(self, scores: Scores) -> None:
        """Whether this is the best evaluation; only early stopping asks."""
        if self._spec.early_stopping is None:
            return
        if self._best is not None and scores.quality <= self._best.quality:
            self._worse += 1
            return
        weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self._best, self._worse = Best(self._done, scores.quality, weights), 0

    def _keep(self) -> None:
        if self._checkpoint is None or self._worker.rank:
            return
        best = self._best
        self._checkpoint.save(
            {
                "model": self.model.state_dict(),
                "adam": self._adam.state_dict(),
                "scaler": self._scaler.state_dict(),
                "stream": self._loader.state_dict(),
                "rows": self._rows,
                "done": self._done,
                "worse": self._worse,
                "best": None if best is None else dict(vars(best)),
            }
        )

    def _resumed(self, mix: MixedStream) -> ShardLoader:
        """Take up the checkpoint, if there is one; gives the batches that are left."""
        state = None if self._checkpoint is None else self._checkpoint.load()
        if state is None:
            return ShardLoader(mix, self.steps)
        load_weights(self.model, state["model"])
        self._adam.load_state_dict(state["adam"])
        self._scaler.load_state_dict(state["scaler"])
        self._rows, self._done, self._worse = state["rows"], state["done"], state["worse"]
        self._best = None if state["best"] is None else Best(**state["best"])
        loader = ShardLoader(mix, self.steps - self._done)
        loader.load_state_dict(state["stream"])
        return loader

    def _finish(self) -> TrainedClassifier:
        step = self._done
        if self._best is not None:
            step = self._best.step
            load_weights(self.model, self._best.weights)
        found = {split: evaluate(self.model, stream, self._worker) for split, stream in self._judged.items()}
        predictions = {split: made for split, (_, made) in found.items()}
        scores = {split: scores for split, (scores, _) in found.items()}
        keys = {split: one.index.keys.take(one.rows).to_pylist() for split, one in self._judged.items()}
        return TrainedClassifier(self.model, step, self._rows, scores, predictions, keys)
