"""A U-Net that labels every pixel, trained from random weights on images with masks."""

from typing import Any, Literal

from engine.config.classifier_settings import CLASSIFIERS, ClassifierSettings


class UNetSettings(ClassifierSettings):
    """Settings of the classifier `unet`."""

    kind: Literal["unet"]

    @property
    def labels_pixels(self) -> bool:
        """Always true."""
        return True


def make_unet(settings: UNetSettings, shape: tuple[int, int], classes: int, first_weights: Any) -> Any:
    """Return an untrained network for images of any size of at least 8 pixels."""
    import torch

    from engine.training.classifier.networks import UNet

    return UNet(classes).to(memory_format=torch.channels_last)


CLASSIFIERS.register(UNetSettings, make_unet)
