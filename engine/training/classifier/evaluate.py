"""Predictions of a network for every sample of a stream, and their scores. Each rank predicts its share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.training.classifier import metrics
from engine.training.classifier.loss import IGNORED, loss_per_target
from engine.training.classifier.metrics import Labels, Outcome, Scores
from engine.training.classifier.network_factory import Network
from engine.training.classifier.train_worker import TrainWorker
from shards import Batch, ShardStream

_BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """Predictions for each sample in the order of its stream. confidence: of the predicted class. loss: in nats."""

    label: Labels
    predicted: Labels
    confidence: NDArray[np.float64]
    loss: NDArray[np.float64]

    @property
    def quality(self) -> NDArray[np.float64]:
        """1 for each right prediction, else 0."""
        return np.asarray(self.label == self.predicted, np.float64)

    def as_columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns that are stored."""
        return {"predicted": self.predicted, "confidence": self.confidence, "quality": self.quality}

    def __getitem__(self, order: Labels) -> "Predictions":
        return Predictions(*(column[order] for column in vars(self).values()))

    def scores(self, classes: int) -> Scores:
        """Return the scores of these predictions."""
        confusion = metrics.confusion_matrix(self.label, self.predicted, classes)
        right = self.label == self.predicted
        return Scores.of(Outcome(confusion, float(self.loss.mean()), right, self.confidence))


@dataclass(frozen=True)
class MaskPredictions:
    """The mean IoU of each image, see `metrics.image_quality`, in the order of its stream."""

    quality: NDArray[np.float64]

    def as_columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns that are stored."""
        return {"quality": self.quality}


def evaluate(model: Network, stream: ShardStream, worker: TrainWorker) -> tuple[Scores, Predictions | MaskPredictions]:
    """Return the scores over all samples, and the prediction for each, on every rank."""
    model.eval()
    if stream.reader.has_masks:
        return _evaluate_masks(model, stream, worker)
    predictions = predict(model, stream, worker)
    return predictions.scores(len(model.info.classes)), predictions


@torch.inference_mode()
def predict(model: Network, stream: ShardStream, worker: TrainWorker) -> Predictions:
    """Return the predictions for all samples of a stream, on every rank."""
    model.eval()
    own = _concatenate([_predict_batch(model, batch, worker) for batch in _batches(stream, worker)])
    return _concatenate(worker.gather(own))[_stream_order(len(stream), worker)]


def _concatenate(parts: list[Predictions]) -> Predictions:
    return Predictions(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))


def _batches(stream: ShardStream, worker: TrainWorker) -> Iterator[Batch]:
    return stream.batches(_BATCH * worker.world_size, rank=worker.rank, world_size=worker.world_size)


def _stream_order(count: int, worker: TrainWorker) -> Labels:
    """Return the order that restores the stream from the ranks' samples: `batches` assigns them round robin."""
    positions = [np.arange(rank, count, worker.world_size) for rank in range(worker.world_size)]
    return np.argsort(np.concatenate(positions), kind="stable")


def _predict_batch(model: Network, batch: Batch, worker: TrainWorker) -> Predictions:
    if not len(batch):  # The last batch may hold fewer samples than there are ranks.
        return Predictions(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    with worker.autocast():
        logits = model(worker.tensor(batch.image).permute(0, 3, 1, 2)).double()
    confidence, predicted = logits.softmax(1).max(1)
    loss = loss_per_target(logits, worker.tensor(batch.label))
    return Predictions(batch.label, _array(predicted), _array(confidence), _array(loss))


@torch.inference_mode()
def _evaluate_masks(model: Network, stream: ShardStream, worker: TrainWorker) -> tuple[Scores, MaskPredictions]:
    classes = len(model.info.classes)
    own_confusion, own_loss, own_quality = np.zeros((classes, classes), np.int64), 0.0, list[float]()
    for batch in _batches(stream, worker):
        if not len(batch):
            continue
        assert batch.mask is not None
        target = worker.tensor(batch.mask).long()
        with worker.autocast():
            logits = model(worker.tensor(batch.image).permute(0, 3, 1, 2)).float()
        own_loss += float(loss_per_target(logits, target).sum())
        for truth, predicted in zip(_array(target), _array(logits.argmax(1)), strict=True):
            labelled = truth != IGNORED
            confusion = metrics.confusion_matrix(truth[labelled], predicted[labelled], classes)
            own_confusion += confusion
            own_quality.append(metrics.image_quality(confusion))
    confusions, losses, qualities = zip(*worker.gather((own_confusion, own_loss, own_quality)), strict=True)
    total = np.sum(confusions, axis=0)
    scores = Scores.of(Outcome(total, sum(losses) / int(total.sum())))
    quality = np.concatenate([np.array(part, np.float64) for part in qualities])
    return scores, MaskPredictions(quality[_stream_order(len(stream), worker)])


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
