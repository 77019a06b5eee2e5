"""StyleGAN-XL and related GANs: a network pickle, and the checkout that unpickles it (Sauer et al., 2022)."""

import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import ImageSpec
from engine.generators.class_index import ClassIndexSettings
from engine.generators.generator import ModelFacts, PendingImages, Request
from engine.generators.network_pickle import check_checkout, load_network
from engine.models.devices import pick_device
from shards.storage.commit import sha256_of

_NOISE_MODE = "const"
"""Use the network's noise inputs, if it has any, as they were saved: nothing of an image is random but its seed."""


class StyleGanSettings(ClassIndexSettings):
    """A GAN that runs code from its files. Both paths must lead to the same files on every node."""

    kind: Literal["stylegan"]
    source: str
    """The network pickle, like `cifar10.pkl`."""
    code: str
    """Folder of the checkout that wrote the pickle; its `legacy.py` and `dnnlib` are imported."""
    trust_pickle: bool = False
    """A pickle runs any code that it contains: say true only for one from a source that you trust."""
    dtype: Literal["fp32"] = "fp32"
    """Of weights and images. On a GPU, layers that were trained in fp16 convert by themselves."""
    truncation: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Psi. Below 1, images are less varied and more typical."""
    license: str = "unknown"
    """For provenance; the files do not name it."""

    def check_files(self) -> None:
        """Raise ModelError if the pickle or a file of the checkout is missing."""
        check_checkout(self.source, self.code)

    @model_validator(mode="after")
    def _check_trust(self) -> Self:
        if not self.trust_pickle:
            raise ValueError(
                f"{self.source} is a pickle, and loading one runs any code that it contains; "
                "if you trust its source, say trust_pickle: true"
            )
        return self


class StyleGan:
    """A generator of images of a class from noise vectors."""

    def __init__(self, model: StyleGanSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        from engine.generators.optimizations.transfer import ImageDownloader
        from engine.generators.stages import DeviceStages

        device = pick_device(model, cluster)
        network = load_network(model.source, model.code)
        model.check_class_ids(network.c_dim)
        self._network = network.eval().requires_grad_(False).to(device.name)
        self._model, self._device_name, self._stages = model, device.name, DeviceStages(device.name)
        self._downloader = ImageDownloader(device.name, self._stages, image.size)
        self.batch_size, self.device = model.fixed_batch_size(), device.description
        self.facts = _facts(model, network)

    def batch_key(self, request: Request) -> Hashable:
        """Return the same key for all requests."""
        return ()

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Map and synthesise one batch."""
        import torch

        network, device = self._network, self._device_name
        ids = torch.tensor([self._model.class_id(request, network.c_dim) for request in requests])
        # On the CPU and one per sample: the noise then depends on neither the device nor the batch.
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        z = torch.cat([torch.randn(1, network.z_dim, generator=generator) for generator in generators])
        c = (torch.arange(network.c_dim) == ids[:, None]).float()  # one-hot; empty for a network without classes
        with torch.inference_mode(), self._stages.during("denoise"):
            ws = network.mapping(z.to(device), c.to(device), truncation_psi=self._model.truncation)
            images = network.synthesis(ws, noise_mode=_NOISE_MODE)
            # A network for grey images has one channel.
            return self._downloader.start(images.expand(-1, 3, -1, -1) / 2 + 0.5)


def _facts(model: StyleGanSettings, network: Any) -> ModelFacts:
    return ModelFacts(
        model=model.source,
        revision=sha256_of(Path(model.source).expanduser())[:12],
        license=model.license,
        pipeline=type(network).__name__,
        scheduler="none",
        settings=json.dumps({"truncation": model.truncation, "noise_mode": _NOISE_MODE}),
        adapters=(),
        generation=1,
    )


GENERATORS.register(StyleGanSettings, StyleGan)
