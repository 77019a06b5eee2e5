"""Decoding for the other loaders.

`decode` uses the fastest of cv2, simplejpeg, torchvision and Pillow for each sample. `decode_batch` decodes straight
into the batch, as our stream does.
"""

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
    """Decode an image from bytes or an array of bytes: JPEG by simplejpeg, which is faster than cv2, else by cv2."""
    if data[0] == 0xFF:
        return np.asarray(simplejpeg.decode_jpeg(data), np.uint8)
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def stack(images: Sequence[Image], labels: Sequence[int]) -> Batch:
    """Stack decoded images to a batch. In a DataLoader's worker it is in shared memory, which saves a copy."""
    batch = empty((len(images), *images[0].shape))
    np.stack(images, out=batch.numpy())
    return batch, torch.tensor(labels)


def decode_batch(encoded: Sequence[Any], labels: Sequence[int]) -> Batch:
    """Decode images by the decoder of `shards`, each into its row of the batch."""
    arrays = [np.frombuffer(data, np.uint8) for data in encoded]
    batch = empty((len(arrays), *decode_rgb(arrays[0]).shape))
    for row, data in zip(batch.numpy(), arrays, strict=True):
        image = decode_rgb(data, row)
        if image is not row:
            row[...] = image
    return batch, torch.tensor(labels)


def empty(shape: tuple[int, ...]) -> torch.Tensor:
    """Allocate a uint8 batch. In a DataLoader's worker it is in shared memory, as in torch's own collation."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
