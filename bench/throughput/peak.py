"""The peak rate of a device: large matrix products."""

import time

from bench.throughput.rounds import Options

ROUNDS, PRODUCTS = 5, 20


def peak_tflops(options: Options) -> list[float]:
    """Return the TFLOP/s of products of square bf16 matrices, one per round. Random numbers: zeros would be faster."""
    import torch

    side = options.pick(8192, 256)
    generator = torch.Generator(options.device).manual_seed(0)
    left, right = (
        torch.randn(side, side, device=options.device, dtype=torch.bfloat16, generator=generator) for _ in range(2)
    )
    torch.mm(left, right)
    return [2 * side**3 * PRODUCTS / 1e12 / _time_products(left, right) for _ in range(options.pick(ROUNDS, 1))]


def _time_products(left: object, right: object) -> float:
    import torch

    synchronize = torch.cuda.synchronize if left.is_cuda else lambda: None  # type: ignore[attr-defined]
    synchronize()
    began = time.perf_counter()
    for _ in range(PRODUCTS):
        torch.mm(left, right)  # type: ignore[call-overload]
    synchronize()
    return time.perf_counter() - began
