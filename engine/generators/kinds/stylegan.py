"""StyleGAN-XL and related GANs: a network pickle, and the checkout that unpickles it (Sauer et al., 2022)."""

import importlib
import json
import sys
from collections.abc import Hashable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.config.cluster_spec import ClusterSpec
from engine.config.model_settings import GENERATORS
from engine.config.output_spec import ImageSpec
from engine.errors import ModelError
from engine.generators.class_index import ClassIndexSettings
from engine.generators.generator import ModelFacts, PendingImages, Request
from engine.models.devices import pick_device
from shards.storage.commit import sha256_of

_NOISE_MODE = "const"  # noise inputs as they were saved: nothing of an image is random but its seed


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
        self.facts = ModelFacts(
            model=model.source,
            revision=sha256_of(Path(model.source).expanduser())[:12],
            license=model.license,
            pipeline=type(network).__name__,
            scheduler="none",
            settings=json.dumps({"truncation": model.truncation, "noise_mode": _NOISE_MODE}),
            adapters=(),
            generation=1,
        )

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


_CODE = ("legacy.py", "dnnlib/__init__.py")


def check_checkout(source: str, code: str) -> None:
    """Raise ModelError if a file is missing. Opens no file."""
    if not Path(source).expanduser().is_file():
        raise ModelError(f"model.source: no file {source} on this node; download the network pickle, and give its path")
    for name in _CODE:
        if not (Path(code).expanduser() / name).is_file():
            raise ModelError(
                f"model.code: {code} has no {name}; give the checkout of the network's code, such as stylegan-xl"
            )


def load_network(source: str, code: str) -> Any:
    """Return the torch module `G_ema` of a StyleGAN's pickle, read by the checkout in `code`. Raises ModelError."""
    check_checkout(source, code)
    folder = Path(code).expanduser().resolve()
    sys.path.insert(0, str(folder))  # first, since the pickle's classes import modules of it as well
    try:
        with Path(source).expanduser().open("rb") as file:
            legacy = importlib.import_module("legacy")
            if Path(str(legacy.__file__)).parent != folder:
                raise ModelError(
                    f"model.code: this process has imported {legacy.__file__} already; use one checkout at a time"
                )
            return legacy.load_network_pkl(file)["G_ema"]
    except ImportError as error:
        raise ModelError(
            f"model.code: {code} cannot be imported: {error}; install what that checkout requires, or give the "
            "one that wrote the pickle"
        ) from error
    except (UnpicklingError, EOFError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"model.source: {source} is not a network pickle for {code}: {error!r}; download it again, or give the "
            "checkout that wrote it"
        ) from error
    finally:
        sys.path.remove(str(folder))


GENERATORS.register(StyleGanSettings, StyleGan)
