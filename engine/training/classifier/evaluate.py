"""What a network says of every sample of a stream, and what that is worth; every rank looks at its share."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.training.classifier import metrics
from engine.training.classifier.loss import IGNORED, loss_per_target
from engine.training.classifier.metrics import Labels, Scores
from engine.training.classifier.network_factory import Network
from engine.training.classifier.train_worker import TrainWorker
from shards import Batch, ShardStream

_BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """Of a classifier, for each sample in the order of its stream.

    confidence: probability of the predicted class. loss: cross-entropy in nats.
    """

    label: Labels
    predicted: Labels
    confidence: NDArray[np.float64]
    loss: NDArray[np.float64]

    @property
    def quality(self) -> NDArray[np.float64]:
        """Whether each is right: 1 or 0."""
        return np.asarray(self.label == self.predicted, np.float64)

    def as_columns(self) -> dict[str, NDArray[Any]]:
        """What a sweep keeps of them."""
        return {"predicted": self.predicted, "confidence": self.confidence, "quality": self.quality}

    def __getitem__(self, order: Labels) -> "Predictions":
        return Predictions(*(getattr(self, field.name)[order] for field in fields(self)))

    def scores(self, classes: int) -> Scores:
        """What they are worth."""
        right = self.label == self.predicted
        error = metrics.calibration_error(self.confidence, right)
        confusion = metrics.confusion_matrix(self.label, self.predicted, classes)
        return _scores(confusion, float(self.loss.mean()), calibration_error=error)


@dataclass(frozen=True)
class MaskPredictions:
    """Of a network for masks, for each sample in the order of its stream.

    quality: mean IoU of the image, see `metrics.image_quality`.
    """

    quality: NDArray[np.float64]

    def as_columns(self) -> dict[str, NDArray[Any]]:
        """What a sweep keeps of them."""
        return {"quality": self.quality}


def evaluate(model: Network, stream: ShardStream, worker: TrainWorker) -> tuple[Scores, Predictions | MaskPredictions]:
    """Scores of all samples, and what is predicted for each, on every rank."""
    model.eval()
    if stream.reader.has_masks:
        return _evaluate_masks(model, stream, worker)
    found = predict(model, stream, worker)
    return found.scores(len(model.form.classes)), found


@torch.inference_mode()
def predict(model: Network, stream: ShardStream, worker: TrainWorker) -> Predictions:
    """The predictions for the samples of a stream, all of them on every rank."""
    model.eval()
    parts = [_judge(model, batch, worker) for batch in _batches(stream, worker)]
    mine = Predictions(*(np.concatenate(column) for column in zip(*map(_columns, parts), strict=True)))
    ranks = worker.gather(mine)
    together = Predictions(*(np.concatenate(column) for column in zip(*map(_columns, ranks), strict=True)))
    return together[_order(len(stream), worker)]


def _columns(found: Predictions) -> list[NDArray[Any]]:
    return [getattr(found, field.name) for field in fields(found)]


def _batches(stream: ShardStream, worker: TrainWorker) -> Iterator[Batch]:
    return stream.batches(_BATCH * worker.world_size, rank=worker.rank, world_size=worker.world_size)


def _order(count: int, worker: TrainWorker) -> Labels:
    """Where each sample of the stream stands in what all ranks found: `ShardStream.batches` deals them in turn."""
    places = [np.arange(rank, count, worker.world_size) for rank in range(worker.world_size)]
    return np.argsort(np.concatenate(places), kind="stable")


def _judge(model: Network, batch: Batch, worker: TrainWorker) -> Predictions:
    if not len(batch):  # of the last batch, where there are more ranks than samples
        return Predictions(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    with worker.autocast():
        logits = model(worker.tensor(batch.image).permute(0, 3, 1, 2)).double()
    confidence, predicted = logits.softmax(1).max(1)
    loss = loss_per_target(logits, worker.tensor(batch.label))
    return Predictions(batch.label, _array(predicted), _array(confidence), _array(loss))


@torch.inference_mode()
def _evaluate_masks(model: Network, stream: ShardStream, worker: TrainWorker) -> tuple[Scores, MaskPredictions]:
    classes = len(model.form.classes)
    mine, loss, quality = np.zeros((classes, classes), np.int64), 0.0, list[float]()
    for batch in _batches(stream, worker):
        if not len(batch):
            continue
        assert batch.mask is not None
        target = worker.tensor(batch.mask).long()
        with worker.autocast():
            logits = model(worker.tensor(batch.image).permute(0, 3, 1, 2)).float()
        loss += float(loss_per_target(logits, target).sum())
        for truth, found in zip(_array(target), _array(logits.argmax(1)), strict=True):
            there = truth != IGNORED
            confusion = metrics.confusion_matrix(truth[there], found[there], classes)
            mine += confusion
            quality.append(metrics.image_quality(confusion))
    ranks = worker.gather((mine, loss, quality))
    together = np.sum([confusion for confusion, _, _ in ranks], axis=0)
    mean_loss = sum(loss for _, loss, _ in ranks) / int(together.sum())
    of_all = np.concatenate([np.array(quality, np.float64) for _, _, quality in ranks])
    scores = _scores(together, mean_loss, mean_iou=metrics.mean_iou(together))
    return scores, MaskPredictions(of_all[_order(len(stream), worker)])


def _scores(confusion: metrics.Confusion, loss: float, **more: float) -> Scores:
    return Scores(
        loss=loss,
        accuracy=metrics.accuracy(confusion),
        macro_f1=metrics.macro_f1(confusion),
        weighted_f1=metrics.weighted_f1(confusion),
        recall=metrics.recall(confusion),
        confusion=tuple(map(tuple, confusion.tolist())),
        **more,
    )


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
