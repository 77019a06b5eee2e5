"""StyleGAN-XL and its relatives: a network pickle, and the code checkout that unpickles it (Sauer et al., 2022)."""

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

_NOISE = "const"
"""The network's own noise inputs, if it has such, as they were saved: nothing of an image is left to chance."""


class StyleGanSettings(ClassIndexSettings):
    """A GAN that runs code from its files. Both paths must lead to the same files on every node."""

    kind: Literal["stylegan"]
    source: str
    """The network pickle, like `cifar10.pkl`."""
    code: str
    """Folder of the checkout that it was made with; its `legacy.py` and `dnnlib` are imported."""
    trust_pickle: bool = False
    """A pickle runs whatever code it holds: say true only for one from a source that you trust."""
    dtype: Literal["fp32"] = "fp32"
    """Of weights and images; on a GPU the layers that were trained in fp16 convert by themselves."""
    truncation: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Psi: less varied and more typical images below 1."""
    license: str = "unknown"
    """For provenance; the files do not say it."""

    def check_files(self) -> None:
        """The pickle and the checkout."""
        check_checkout(self.source, self.code)

    @model_validator(mode="after")
    def _is_trusted(self) -> Self:
        if not self.trust_pickle:
            raise ValueError(
                f"{self.source} is a pickle, and loading one runs whatever code it holds; "
                "if you trust where it comes from, say trust_pickle: true"
            )
        return self


class StyleGan:
    """Images of a class from a noise vector each."""

    def __init__(self, model: StyleGanSettings, image: ImageSpec, cluster: ClusterSpec) -> None:
        from engine.generators.optimizations.transfer import ImageDownloader
        from engine.generators.stages import DeviceStages

        device = pick_device(model, cluster)
        network = load_network(model.source, model.code)
        model.check_ids(network.c_dim)
        self._network = network.eval().requires_grad_(False).to(device.name)
        self._model, self._on, self._stages = model, device.name, DeviceStages(device.name)
        self._outlet = ImageDownloader(device.name, self._stages, image.size)
        self.batch_size, self.device, self.facts = model.fixed_batch_size(), device.text, _facts(model, network)

    def shape(self, request: Request) -> Hashable:
        """All alike."""
        return ()

    def generate(self, requests: Sequence[Request]) -> PendingImages:
        """Map and synthesise one batch."""
        import torch

        network = self._network
        ids = torch.tensor([self._model.class_id(request, network.c_dim) for request in requests])
        # On the CPU and one per sample: the noise then depends on neither the device nor the batch.
        chances = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        z = torch.cat([torch.randn(1, network.z_dim, generator=chance) for chance in chances])
        c = (torch.arange(network.c_dim) == ids[:, None]).float()  # one-hot; empty for a network without classes
        with torch.inference_mode(), self._stages.within("denoise"):
            ws = network.mapping(z.to(self._on), c.to(self._on), truncation_psi=self._model.truncation)
            made = network.synthesis(ws, noise_mode=_NOISE)
            # One that makes grey images has one channel.
            return self._outlet.deliver(made.expand(-1, 3, -1, -1) / 2 + 0.5)


def _facts(model: StyleGanSettings, network: Any) -> ModelFacts:
    return ModelFacts(
        model=model.source,
        revision=sha256_of(Path(model.source).expanduser())[:12],
        license=model.license,
        pipeline=type(network).__name__,
        scheduler="none",
        settings=json.dumps({"truncation": model.truncation, "noise_mode": _NOISE}),
        adapters=(),
        generation=1,
    )


GENERATORS.register(StyleGanSettings, StyleGan)
