"""Copies between the host's memory and a device's that do not wait for running computations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from engine.generators.generator import Images, PendingImages
from engine.generators.stages import DeviceStages
from engine.profiling import Span


def upload(tensor: Tensor, device: str) -> Tensor:
    """Return the tensor on the device. From pageable memory, torch would wait until the stream is empty."""
    return tensor.pin_memory().to(device, non_blocking=True) if device == "cuda" else tensor


def download(tensor: Tensor) -> Tensor:
    """Return a copy in pinned host memory, which is complete when the current stream has reached this point."""
    host = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
    return host.copy_(tensor, non_blocking=True)


class ImageDownloader:
    """Copies the images of one generator to the host. overlap: a GPU copies in a stream of its own."""

    def __init__(self, device: str, stages: DeviceStages, size: int | None, overlap: bool = True) -> None:
        self._stages, self._size = stages, size
        self._on_gpu, self._overlap = device == "cuda", overlap and device == "cuda"
        self._copy_stream = torch.cuda.Stream() if self._overlap else None

    def start(
        self, images: Tensor, masks: NDArray[np.uint8] | None = None, unsafe: Sequence[bool] | None = None
    ) -> PendingImages:
        """Convert images as `to_stored_pixels` does and start to copy them. unsafe: verdicts of a safety checker."""
        self._stages.begin("decode")
        device_pixels, device_finite = to_stored_pixels(images, self._size)
        with self._copying(device_pixels, device_finite):
            self._stages.begin("copy")
            pixels, finite = download(device_pixels), download(device_finite)
            self._stages.begin(None)
        pending = _Download(pixels, finite, masks, unsafe, self._record_event(), self._stages.take_spans())
        return pending if self._overlap else pending.images()

    @contextmanager
    def _copying(self, *tensors: Tensor) -> Iterator[None]:
        """Run the block in the copying stream, after the computing stream has made the tensors."""
        if self._copy_stream is None:
            yield
            return
        self._copy_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._copy_stream):
            yield
        for tensor in tensors:
            tensor.record_stream(self._copy_stream)  # the next batch gets their memory only after they are copied

    def _record_event(self) -> Any:
        """Return an event that follows all copies; None on a CPU, where they are complete already."""
        if not self._on_gpu:
            return None
        event = torch.cuda.Event(blocking=True)  # a waiting thread leaves its core to those that encode
        event.record(self._copy_stream or torch.cuda.current_stream())
        return event


@dataclass(frozen=True)
class _Download:
    """Images that a device is still copying."""

    pixels: Tensor
    finite: Tensor
    masks: NDArray[np.uint8] | None
    unsafe: Sequence[bool] | None
    copied: Any
    spans: Callable[[], tuple[Span, ...]]

    def images(self) -> Images:
        return self._images

    @cached_property
    def _images(self) -> Images:
        if self.copied is not None:
            self.copied.synchronize()
        finite = self.finite.tolist()
        refused = tuple(map(_refusal, self.unsafe or [False] * len(finite), finite))
        return Images(self.pixels.numpy(), self.masks, refused, self.spans())


def _refusal(unsafe: bool, finite: bool) -> str:
    return "unsafe" if unsafe else "" if finite else "not finite"


def to_stored_pixels(images: Tensor, size: int | None) -> tuple[Tensor, Tensor]:
    """Return the pixels to store, uint8 (batch, height, width, 3), and which images are finite, bool (batch,).

    images: values in [0, 1], (batch, 3, height, width). The results are on the same device.
    size:   side to resize to, with antialiasing, after cutting a square around the centre; None to do neither.
    """
    finite = images.isfinite().flatten(1).all(1)
    if size is not None:
        images = _central_square(images)
        if images.shape[-1] != size:
            images = interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    pixels = images.float().nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous(), finite


def _central_square(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]
