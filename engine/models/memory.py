"""Memory of a device and its host: recognise errors that say it is too small; keep or release freed memory."""

import ctypes
import gc
from contextlib import suppress

_OOM_PHRASES = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""Phrases in the errors of torch's allocators for GPU and CPU, of the driver, and of cuBLAS and cuDNN."""

# Parameters of glibc's `mallopt`.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a batch did not fit into a device's memory, so that a smaller one may."""
    import torch

    says_so = isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _OOM_PHRASES)
    return says_so or isinstance(error, torch.OutOfMemoryError)


def device_is_lost(error: BaseException) -> bool:
    """Return whether this process can no longer use its GPU: CUDA repeats such an error in every later call."""
    text = str(error)
    return "CUDA error" in text and not any(phrase in text for phrase in _OOM_PHRASES)


def free_memory() -> None:
    """Return the memory that no tensor uses to the device and to the operating system."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """Let this process keep the host memory that it frees, as torch does with GPU memory. Only glibc supports this.

    By default glibc returns large blocks to the system at once. To get them back page by page costs a twentieth of the
    time of a small model on a CPU.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)  # older versions accept only the latter
