"""CIFAR-10 as torchvision reads and downloads it; its own test set is the held-out part."""

from functools import partial
from typing import Literal

from engine.config.data_spec import SOURCES, SourceSettings
from engine.data.real_image import RealImage, RealSet
from engine.errors import DataError
from shards.codec import encode_rgb


class Cifar10Settings(SourceSettings):
    """Settings of the source `cifar10`."""

    source: Literal["cifar10"]
    path: str
    """Folder that holds cifar-10-batches-py; it is downloaded there if it is missing."""


def open_cifar10(settings: Cifar10Settings) -> RealSet:
    """Read PATH/cifar-10-batches-py. Raises DataError where it is missing and cannot be downloaded."""
    from torchvision.datasets import CIFAR10

    path = settings.path
    try:
        parts = [CIFAR10(path, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(f"data.path: no CIFAR-10 in {path}, and no download: {error}") from None
    classes = tuple(parts[0].classes)
    train, test = (
        tuple(
            RealImage(int(label), classes[label], f"{path}:{name}[{i}]", partial(encode_rgb, part.data[i], "png"))
            for i, label in enumerate(part.targets)
        )
        for part, name in zip(parts, ("train", "test"), strict=True)
    )
    return RealSet(classes, train, test)


SOURCES.register(Cifar10Settings, open_cifar10)
