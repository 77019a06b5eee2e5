"""A ControlNet for a UNet, initialized as a copy of its first half (Zhang et al., 2023)."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import seeded_init

_WIDTHS = (16, 32, 96, 256)  # Channels of the control image on its way to the latents; each step halves its size.


class ControlNetLearner:
    """The ControlNet of a UNet. It alone is trained, in fp32. dtype: of the UNet."""

    title = "ControlNet"

    def __init__(self, pipe: Any, spec: FinetuneSpec) -> None:
        self.dtype, self.device = pipe.unet.dtype, pipe.unet.device
        pipe.unet.requires_grad_(False)
        halvings = int(pipe.vae_scale_factor).bit_length() - 1
        with seeded_init(spec.seed, "controlnet"):
            net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=_WIDTHS[: halvings + 1])
        self._net = net.to(self.device, memory_format=torch.channels_last).float().train()
        self.model: nn.Module = _ControlledUNet(pipe.unet, self._net)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return list(self._net.parameters())

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return dict(self._net.state_dict())

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore weights."""
        self._net.load_state_dict(state)

    def save(self, folder: Path) -> None:
        """Write the ControlNet in the diffusers format, in half precision. It cannot be trained afterwards."""
        self._net.half().to(memory_format=torch.contiguous_format).save_pretrained(folder)
        for file in folder.glob("*.safetensors"):
            file.chmod(0o644)  # The library makes weights readable by their owner alone.


class _ControlledUNet(nn.Module):
    """The UNet with the ControlNet's residuals. Takes what a UNet takes, and the control image."""

    def __init__(self, unet: nn.Module, net: nn.Module) -> None:
        super().__init__()
        self.unet, self.net = unet, net

    def forward(self, noisy: Tensor, times: Tensor, controlnet_cond: Tensor, **conditions: Any) -> Any:
        down, mid = self.net(noisy, times, controlnet_cond=controlnet_cond, **conditions)
        return self.unet(
            noisy, times, down_block_additional_residuals=down, mid_block_additional_residual=mid, **conditions
        )
