"""A small convolutional classifier for small images, trained from random weights."""

from typing import Any, Literal

from engine.config.classifier_settings import CLASSIFIERS, ClassifierSettings


class SmallCnnSettings(ClassifierSettings):
    """Settings of the classifier `small_cnn`."""

    kind: Literal["small_cnn"]


def make_small_cnn(settings: SmallCnnSettings, shape: tuple[int, int], classes: int, first_weights: Any) -> Any:
    """Return an untrained network for images of any size of at least 8 pixels."""
    import torch

    from engine.training.classifier.networks import SmallCnn

    return SmallCnn(classes).to(memory_format=torch.channels_last)


CLASSIFIERS.register(SmallCnnSettings, make_small_cnn, default=True)
