"""A class-conditional generator in two parts, as small as it can be: mapping and synthesis."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, leaky_relu
from torch_utils import persistence


class Mapping(persistence.Persistent, nn.Module):
    """From noise and a one-hot class to a style per layer, drawn towards the class's mean by psi."""

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_ws: int) -> None:
        super().__init__()
        self.c_dim, self.num_ws = c_dim, num_ws
        self.embed = nn.Linear(c_dim, z_dim, bias=False) if c_dim else None
        self.layers = nn.Sequential(nn.Linear(z_dim * (2 if c_dim else 1), w_dim), nn.LeakyReLU(0.2))
        self.register_buffer("w_avg", torch.randn(max(1, c_dim), w_dim))

    def forward(self, z: Tensor, c: Tensor, truncation_psi: float = 1.0) -> Tensor:
        joined = z if self.embed is None else torch.cat([z, self.embed(c)], dim=1)
        means = self.w_avg[c.argmax(1)] if self.c_dim else self.w_avg
        w = torch.lerp(means.expand(len(z), -1), self.layers(joined), truncation_psi)
        return w.unsqueeze(1).repeat(1, self.num_ws, 1)


class Synthesis(persistence.Persistent, nn.Module):
    """From styles to an image in [-1, 1]; each layer adds noise of its own, saved or fresh."""

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__()
        self.num_ws = img_resolution.bit_length() - 2
        self.start = nn.Parameter(torch.randn(w_dim, 4, 4))
        self.styles = nn.ModuleList(nn.Linear(w_dim, w_dim) for _ in range(self.num_ws))
        self.weights = nn.ParameterList(torch.randn(w_dim, w_dim, 3, 3) / w_dim for _ in range(self.num_ws))
        self.noise = nn.ParameterList(torch.randn(4 << n, 4 << n) / 4 for n in range(self.num_ws))
        self.to_image = nn.Conv2d(w_dim, img_channels, 1)

    def forward(self, ws: Tensor, noise_mode: str = "random") -> Tensor:
        x = self.start.expand(len(ws), -1, -1, -1)
        for n, w in enumerate(ws.unbind(1)):
            noise = self.noise[n] if noise_mode == "const" else torch.randn_like(self.noise[n])
            x = conv2d(x * self.styles[n](w)[:, :, None, None], self.weights[n], padding=1) + noise
            x = leaky_relu(x, 0.2)
            x = interpolate(x, scale_factor=2) if n + 1 < self.num_ws else x
        return torch.tanh(self.to_image(x))


class Generator(persistence.Persistent, nn.Module):
    """Both."""

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, img_resolution: int, img_channels: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.img_resolution, self.img_channels = z_dim, c_dim, img_resolution, img_channels
        self.synthesis = Synthesis(w_dim, img_resolution, img_channels)
        self.mapping = Mapping(z_dim, c_dim, w_dim, self.synthesis.num_ws)
