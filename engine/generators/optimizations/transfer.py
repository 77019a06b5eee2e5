"""Between the host's memory and a device's, without waiting for what the device still computes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.generators.pixels import to_stored_pixels
from engine.generators.generator import Images, PendingImages
from engine.generators.stages import DeviceStages
from engine.profiling import Span


def upload(tensor: Tensor, device: str) -> Tensor:
    """The tensor on the device. From pageable memory, torch would wait until the stream is empty."""
    return tensor.pin_memory().to(device, non_blocking=True) if device == "cuda" else tensor


def download(tensor: Tensor) -> Tensor:
    """Its copy in the host's memory, which holds it when the current stream has come by. Pinned memory is used again
    when the tensor is dropped."""
    host = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
    return host.copy_(tensor, non_blocking=True)


class ImageDownloader:
    """Takes the images of one generator to the host's memory.

    size:    see `to_frames`.
    overlap: whether a GPU copies them by a stream of its own, and a batch is given back while it still does.
    """

    def __init__(self, device: str, stages: DeviceStages, size: int | None, overlap: bool = True) -> None:
        self._stages, self._size = stages, size
        self._gpu, self._overlap = device == "cuda", overlap and device == "cuda"
        self._aside = torch.cuda.Stream() if self._overlap else None

    def deliver(
        self, made: Tensor, masks: NDArray[np.uint8] | None = None, unsafe: Sequence[bool] | None = None
    ) -> PendingImages:
        """The batch whose images are `made`, see `to_frames`. unsafe: the verdicts of a safety checker; those images
        are refused, and those that overflowed to NaN."""
        self._stages.enter("decode")
        frames, finite = to_stored_pixels(made, self._size)
        with self._copying(frames, finite):
            self._stages.enter("copy")
            pixels, fine = download(frames), download(finite)
            self._stages.enter(None)
        found = _Arriving(pixels, fine, masks, unsafe, self._arrival(), self._stages.take())
        return found if self._overlap else found.images()

    @contextmanager
    def _copying(self, *given: Tensor) -> Iterator[None]:
        """On the copying stream, as soon as the computing one has made the given tensors."""
        if self._aside is None:
            yield
            return
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            yield
        for one in given:
            one.record_stream(self._aside)  # their memory is not the next batch's before they are copied

    def _arrival(self) -> Any:
        """What says that all copies were made; None where they are made at once."""
        if not self._gpu:
            return None
        event = torch.cuda.Event(blocking=True)  # a thread that waits leaves its core to those that encode
        event.record(self._aside or torch.cuda.current_stream())
        return event


@dataclass(frozen=True)
class _Arriving:
    """A `Made`: images that a device is still copying."""

    pixels: Tensor
    finite: Tensor
    masks: NDArray[np.uint8] | None
    unsafe: Sequence[bool] | None
    arrival: Any
    spans: Callable[[], tuple[Span, ...]]

    def images(self) -> Images:
        return self._images

    @cached_property
    def _images(self) -> Images:
        if self.arrival is not None:
            self.arrival.synchronize()
        finite = self.finite.tolist()
        refused = tuple(map(_refusal, self.unsafe or [False] * len(finite), finite))
        return Images(self.pixels.numpy(), self.masks, refused, self.spans())


def _refusal(unsafe: bool, finite: bool) -> str:
    return "unsafe" if unsafe else "" if finite else "not finite"
