"""Decoding for the other loaders: what is fastest of cv2, simplejpeg, torchvision and Pillow, sample by sample; and as
our stream does it, straight into the batch."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from shards.codec import decode_rgb

Batch = tuple[torch.Tensor, torch.Tensor]
Image = NDArray[np.uint8]


def decode(data: Any) -> Image:
    """One image, from bytes or an array of them: JPEG by simplejpeg, which is faster than cv2, all else by cv2."""
    if data[0] == 0xFF:
        return np.asarray(simplejpeg.decode_jpeg(data), np.uint8)
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def stack(images: Sequence[Image], labels: Sequence[int]) -> Batch:
    """Decoded images as a batch; within a DataLoader's worker in shared memory, which spares a copy."""
    batch = empty((len(images), *images[0].shape))
    np.stack(images, out=batch.numpy())
    return batch, torch.tensor(labels)


def decode_batch(encoded: Sequence[Any], labels: Sequence[int]) -> Batch:
    """Encoded images as a batch, each decoded into its place by the decoder of `shards`."""
    arrays = [np.frombuffer(data, np.uint8) for data in encoded]
    batch = empty((len(arrays), *decode_rgb(arrays[0]).shape))
    for place, data in zip(batch.numpy(), arrays, strict=True):
        image = decode_rgb(data, place)
        if image is not place:
            place[...] = image
    return batch, torch.tensor(labels)


def empty(shape: tuple[int, ...]) -> torch.Tensor:
    """A uint8 batch; in shared memory within a DataLoader's worker, as torch's own collation has it."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
