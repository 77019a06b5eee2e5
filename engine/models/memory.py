"""A device's memory: whether an error says that it is too small, and keeping or giving back what nobody uses."""

import ctypes
import gc
from contextlib import suppress

_SIGNS = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""In the texts of torch's allocators for GPU and CPU, of the driver, and of cuBLAS and cuDNN."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device had no room for a batch, so that a smaller one may pass."""
    import torch

    told = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    return told or isinstance(error, torch.OutOfMemoryError)


def device_is_lost(error: BaseException) -> bool:
    """Whether a process can use its GPU no more: CUDA repeats such errors in each further call."""
    text = str(error)
    return "CUDA error" in text and not any(sign in text for sign in _SIGNS)


def free_memory() -> None:
    """Give back to the device and the host what no tensor uses any more; the allocators keep it otherwise."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """Let this process keep the host's memory that it frees, as torch does with a GPU's, for it will need it again.

    glibc gives large blocks back to the system at once and is given them anew, empty, a page at a time: for the
    activations of a small model on a CPU a twentieth of its time. Elsewhere this does nothing.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)  # the most that older ones take
