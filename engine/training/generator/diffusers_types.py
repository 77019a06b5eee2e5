"""Type names for objects of diffusers, whose base classes are untyped: a type checker sees none of their methods."""

from typing import Any

Autoencoder = Any
"""An AutoencoderKL."""
Unet = Any
"""A UNet2DConditionModel."""
Scheduler = Any
"""A DDIMScheduler."""
Pipeline = Any
"""A DiffusionPipeline."""
