"""The loss of a batch is the mean over its parts, and every class has a loss."""

import pytest
import torch

from engine.training.classifier.loss import IGNORED, loss_per_target, mean_loss


def test_the_mean_loss_of_two_halves_is_that_of_the_whole() -> None:
    drawn = torch.Generator().manual_seed(0)
    logits, target = torch.randn(12, 5, generator=drawn), torch.arange(12) % 5
    weights = torch.tensor([0.1, 2.0, 1.0, 0.5, 3.0])
    whole = mean_loss(logits, target, 0.1, weights)
    halves = [mean_loss(logits[rank::2], target[rank::2], 0.1, weights) for rank in (0, 1)]
    assert float(sum(halves)) / 2 == pytest.approx(float(whole))
    assert float(mean_loss(logits, target)) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target)))


def test_only_pixels_without_a_class_have_no_loss() -> None:
    assert float(loss_per_target(torch.zeros(1, 300), torch.tensor([IGNORED]))) > 5
    masks = torch.tensor([[[0, IGNORED]]])
    assert loss_per_target(torch.zeros(1, 2, 1, 2), masks).flatten().tolist() == pytest.approx([0.6931, 0.0], abs=1e-4)
