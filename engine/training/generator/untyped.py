"""Names for what diffusers builds: its base classes are untyped, so a type checker sees none of their methods."""

from typing import Any

#: An AutoencoderKL.
Autoencoder = Any
#: A UNet2DConditionModel.
Unet = Any
#: A DDIMScheduler.
Scheduler = Any
#: A DiffusionPipeline.
Pipeline = Any
