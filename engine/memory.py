"""A device's memory: whether an error says that it is too small, and giving back what nobody uses."""

import gc

_SIGNS = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""In the texts of torch's allocators for GPU and CPU, of the driver, and of cuBLAS and cuDNN."""


def out_of_memory(error: Exception) -> bool:
    """Whether a device had no room for a batch, so that a smaller one may pass."""
    import torch

    told = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    return told or isinstance(error, torch.OutOfMemoryError)


def free_memory() -> None:
    """Give back to the device what no tensor uses any more; the allocator keeps it otherwise."""
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
