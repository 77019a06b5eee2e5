"""Networks with the normalization of their pixels; their first weights; files of trained ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import normalize

from engine.config.classifier_settings import CLASSIFIERS, ClassifierSettings
from engine.config.train_spec import TrainSpec
from engine.errors import ModelError, SpecError
from engine.training.random_streams import seeded_init
from shards.storage.retries import first_line

Statistics = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel, 0 to 255."""

IMAGENET: Statistics = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CENTRED: Statistics = ((127.5,) * 3, (127.5,) * 3)

_PREFIX = "network."


@dataclass(frozen=True)
class NetworkInfo:
    """Everything about a network except its weights. shape: (height, width). classes: in the order of its outputs."""

    settings: ClassifierSettings
    shape: tuple[int, int]
    classes: tuple[str, ...]


class Network(nn.Module):
    """A network with the normalization of its pixels.

    Takes uint8 or float (batch, 3, height, width) of 0 to 255. Returns logits (batch, classes), of masks (batch,
    classes, height, width).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, info: NetworkInfo, statistics: Statistics) -> None:
        super().__init__()
        self.network, self.info = network, info
        for name, values in zip(("mean", "std"), statistics, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        scaled = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(scaled)
        return logits

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the last layer's input for uint8 (batch, height, width, 3): (batch, channels), rows of length 1."""
        self.eval()
        inputs: list[Tensor] = []
        hook = _head(self.network)[1].register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
        try:
            self(torch.from_numpy(images).permute(0, 3, 1, 2).to(self.mean.device))
        finally:
            hook.remove()
        features = inputs[0].flatten(2).mean(dim=2) if inputs[0].ndim == 4 else inputs[0]
        return normalize(features.double()).cpu().numpy()


def build_network(spec: TrainSpec, shape: tuple[int, int], classes: Sequence[str], statistics: Statistics) -> Network:
    """Return the network of a spec with its first weights; `spec.seed` decides the random ones.

    Raises SpecError if it cannot take images of this shape, ModelError for weights that cannot be loaded.
    """
    info = NetworkInfo(spec.model, shape, tuple(classes))
    weights = None if spec.weights is None else _first_weights(spec.model, spec.weights)
    with seeded_init(spec.seed, "weights"):
        network: nn.Module = CLASSIFIERS.make(spec.model, shape, len(classes), weights)
    if weights is not None:
        _load_first_weights(network, weights, str(spec.weights))
    _check_shape(network, info)
    return Network(network, info, statistics)


def dump_network(model: Network) -> bytes:
    """Return the network as a safetensors file, for `load_network`."""
    info = model.info
    metadata = {
        "settings": info.settings.model_dump_json(),
        "shape": json.dumps(info.shape),
        "classes": json.dumps(info.classes, ensure_ascii=False),
    }
    return save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, metadata)


def load_network(path: Path) -> Network:
    """Return a network that `dump_network` wrote. Raises ModelError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        settings = CLASSIFIERS.parse(json.loads(metadata["settings"]))
        height, width = json.loads(metadata["shape"])
        info = NetworkInfo(settings, (height, width), tuple(json.loads(metadata["classes"])))
        weights = load_file(path)
        network = CLASSIFIERS.make(settings, info.shape, len(info.classes), _without_prefix(weights))
        model = Network(network, info, CENTRED)
        if weights.keys() != model.state_dict().keys():
            raise ValueError("other layers")
        load_weights(model, weights)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: not a network that `train` wrote: {first_line(error)}") from None
    return model.eval()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load some of a network's weights."""
    # Some layers look for a version in the state, which no file but torch's own keeps.
    versioned = network.state_dict()
    versioned.update(weights)
    network.load_state_dict(versioned)


def _first_weights(settings: ClassifierSettings, weights: str) -> Mapping[str, Tensor]:
    """Read weights by the names of the network's own parameters."""
    if weights == "imagenet":
        return settings.load_pretrained()
    try:
        is_safe = weights.endswith(".safetensors")
        return _without_prefix(load_file(weights) if is_safe else torch.load(weights, "cpu", weights_only=True))
    except UnpicklingError:
        raise ModelError(
            f"train.weights: {weights} is no file of tensors alone, and a pickle can run code when it is loaded; save "
            "its state_dict"
        ) from None
    except (OSError, SafetensorError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelError(f"train.weights: {weights} holds no weights that can be read: {first_line(error)}") from None


def _load_first_weights(network: nn.Module, weights: Mapping[str, Tensor], place: str) -> None:
    """Load all weights that fit. Raises ModelError if any but the last layer's is missing."""
    own, (head, _) = network.state_dict(), _head(network)
    fitting = {
        name: weights[name] for name, value in own.items() if name in weights and weights[name].shape == value.shape
    }
    missing = [name for name in own if name not in fitting and not name.startswith(f"{head}.")]
    if missing := [name for name in missing if not name.endswith("num_batches_tracked")]:
        detail = f"in the shape {tuple(own[missing[0]].shape)}" if missing[0] in weights else "at all"
        raise ModelError(f"train.weights: {place} is of another network: it has no {missing[0]!r} {detail}")
    load_weights(network, fitting)


def _head(network: nn.Module) -> tuple[str, nn.Module]:
    """Return the name of the last layer and the layer. It is linear; in SqueezeNet and U-Net it is a convolution."""
    modules = list(network.named_modules())
    linear = [named for named in modules if isinstance(named[1], nn.Linear)]
    last: tuple[str, nn.Module] = (linear or [named for named in modules if isinstance(named[1], nn.Conv2d)])[-1]
    return last


@torch.inference_mode()
def _check_shape(network: nn.Module, info: NetworkInfo) -> None:
    """Raise SpecError if the network cannot take images of its shape."""
    training = network.training
    try:
        network.eval()(torch.zeros(1, 3, *info.shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        height, width = info.shape
        raise SpecError(
            f"train.model: {info.settings.kind} cannot take images of {height}x{width} ({first_line(error)[:80]}); set "
            "train.image_size, to 224 for most"
        ) from None
    network.train(training)


def _without_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_PREFIX): value for name, value in weights.items()}
