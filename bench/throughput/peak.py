"""The peak rate of a device, measured by large matrix products."""

import time

from bench.throughput.rounds import Options

ROUNDS, PRODUCTS = 5, 20


def peak_tflops(options: Options) -> list[float]:
    """TFLOP/s of products of square bf16 matrices of random numbers (zeros are faster), in several rounds."""
    import torch

    side = options.pick(8192, 256)
    draw = torch.Generator(options.device).manual_seed(0)
    one, other = (
        torch.randn(side, side, device=options.device, dtype=torch.bfloat16, generator=draw) for _ in range(2)
    )
    torch.mm(one, other)
    return [2 * side**3 * PRODUCTS / 1e12 / _seconds(one, other) for _ in range(options.pick(ROUNDS, 1))]


def _seconds(one: object, other: object) -> float:
    import torch

    synchronize = torch.cuda.synchronize if one.is_cuda else lambda: None  # type: ignore[attr-defined]
    synchronize()
    began = time.perf_counter()
    for _ in range(PRODUCTS):
        torch.mm(one, other)  # type: ignore[call-overload]
    synchronize()
    return time.perf_counter() - began
