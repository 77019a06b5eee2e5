"""Models and devices on which fp8 quantization is refused."""

from pathlib import Path

import pytest
import torch

from engine.errors import ModelError
from engine.generators.optimizations.quantization import check_fp8
from engine.models.devices import Device
from tests.engine.generators.tiny_generators import load


def test_fp8_is_refused_on_a_cpu(sd: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.optimizations\.fp8: a CPU has no fp8 instructions; say fp8: false"):
        load(sd, dtype="bf16", optimizations={"fp8": True})


@pytest.mark.parametrize(
    ("capability", "dtype", "words"),
    [((8, 0), torch.bfloat16, "A100 has .* 8.0, but fp8 needs 8.9"), ((8, 9), torch.float16, "say dtype: bf16")],
)
def test_fp8_is_refused_on_a_gpu(
    capability: tuple[int, int], dtype: torch.dtype, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    with pytest.raises(ModelError, match=words):
        check_fp8(Device("cuda", dtype, "a GPU"))
