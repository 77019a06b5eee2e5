"""Networks by name, with the scaling of their pixels; their first weights; files of trained ones."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models import get_model, get_model_weights, list_models

from engine.config.train_spec import OWN_MODELS, TrainSpec, VitSpec
from engine.errors import ModelError, SpecError
from engine.training.classifier.networks import SmallCnn, UNet
from engine.training.random_streams import seeded_init

Statistics = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel, 0 to 255."""

IMAGENET: Statistics = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CENTRED: Statistics = ((127.5,) * 3, (127.5,) * 3)

_SMALL = 64
_PREFIX = "network."
_AUXILIARY = {"aux_logits": False, "init_weights": True}
_OPTIONS = {"googlenet": _AUXILIARY, "inception_v3": _AUXILIARY}


@dataclass(frozen=True)
class NetworkInfo:
    """What a network is, besides its weights.

    shape:   (height, width) of its images.
    classes: names, in the order of its outputs.
    """

    model: str
    vit: VitSpec | None
    shape: tuple[int, int]
    classes: tuple[str, ...]


class Network(nn.Module):
    """A network with the scaling of its pixels.

    Takes uint8 or float (batch, 3, height, width) of 0 to 255; gives logits (batch, classes), of masks (batch, classes,
    height, width).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, form: NetworkInfo, statistics: Statistics) -> None:
        super().__init__()
        self.network, self.form = network, form
        for name, values in zip(("mean", "std"), statistics, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        scaled = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(scaled)
        return logits

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What the last layer sees of uint8 (batch, height, width, 3): (batch, channels), every row of length 1."""
        self.eval()
        seen: list[Tensor] = []
        hook = _head(self.network)[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self(torch.from_numpy(images).permute(0, 3, 1, 2).to(self.mean.device))
        finally:
            hook.remove()
        found = seen[0].flatten(2).mean(dim=2) if seen[0].ndim == 4 else seen[0]
        return normalize(found.double()).cpu().numpy()


def build_network(spec: TrainSpec, shape: tuple[int, int], classes: Sequence[str], statistics: Statistics) -> Network:
    """The network of a spec with its first weights; `spec.seed` decides those that are random.

    Raises SpecError for a name that is not known and for images that are too small for it, ModelError for weights that
    cannot be had.
    """
    check_model(spec)
    form = NetworkInfo(spec.model, spec.vit, shape, tuple(classes))
    state = None if spec.weights is None else _first_weights(spec.model, spec.weights)
    with seeded_init(spec.seed, "weights"):
        network = _network(form, state)
    if state is not None:
        _load(network, state, str(spec.weights))
    _check_takes(network, form)
    return Network(network, form, statistics)


def check_model(spec: TrainSpec) -> None:
    """Raises SpecError for a model that there is not."""
    known = [*OWN_MODELS, *list_models(module=torchvision.models)]
    if spec.model not in known:
        near = difflib.get_close_matches(spec.model, known, n=3) or known[:8]
        raise SpecError(f"train.model: there is no {spec.model!r}; did you mean {', '.join(near)}?")


def dump_network(model: Network) -> bytes:
    """The trained network as a safetensors file that `load` reads."""
    form = model.form
    told = {
        "model": form.model,
        "vit": form.vit.model_dump_json() if form.vit else "",
        "shape": json.dumps(form.shape),
        "classes": json.dumps(form.classes, ensure_ascii=False),
    }
    return save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, told)


def load_network(path: Path) -> Network:
    """A network that `dump` wrote. Raises ModelError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
        vit = VitSpec.model_validate_json(told["vit"]) if told["vit"] else None
        height, width = json.loads(told["shape"])
        form = NetworkInfo(told["model"], vit, (height, width), tuple(json.loads(told["classes"])))
        state = load_file(path)
        model = Network(_network(form, _without_prefix(state)), form, CENTRED)
        if state.keys() != model.state_dict().keys():
            raise ValueError("other layers")
        load_weights(model, state)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: not a network that a training of ours wrote: {_line(error)}") from None
    return model.eval()


def load_weights(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network these of its weights. Some layers ask a state for its version, which no file but torch's keeps."""
    versioned = network.state_dict()
    versioned.update(state)
    network.load_state_dict(versioned)


def _network(form: NetworkInfo, state: Mapping[str, Tensor] | None) -> nn.Module:
    count = len(form.classes)
    if form.model == "small_cnn":
        return SmallCnn(count).to(memory_format=torch.channels_last)
    if form.model == "unet":
        return UNet(count).to(memory_format=torch.channels_last)
    if form.model == "vit":
        return _vit(form)
    options = {"image_size": form.shape[0]} if form.model.startswith("vit_") else _OPTIONS.get(form.model, {})
    network: nn.Module = get_model(form.model, weights=None, num_classes=count, **options)
    if max(form.shape) <= _SMALL:
        _keep_resolution(network, state)
    return network.to(memory_format=torch.channels_last)


def _vit(form: NetworkInfo) -> nn.Module:
    vit, (height, width) = form.vit, form.shape
    assert vit is not None
    if height != width or height % vit.patch:
        raise SpecError(f"train.vit.patch: images of {height}x{width} cannot be cut into squares of {vit.patch} pixels")
    network: nn.Module = torchvision.models.VisionTransformer(
        image_size=height,
        patch_size=vit.patch,
        num_layers=vit.layers,
        num_heads=vit.heads,
        hidden_dim=vit.hidden,
        mlp_dim=vit.intermediate,
        num_classes=len(form.classes),
    )
    return network


def _keep_resolution(network: nn.Module, state: Mapping[str, Tensor] | None) -> None:
    """Begin with stride 1, and in a ResNet with a 3x3 convolution and no pooling; but for weights of the other form."""
    if isinstance(network, torchvision.models.ResNet):
        stem = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
        if state is None or state["conv1.weight"].shape == stem.weight.shape:
            nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
            network.conv1, network.maxpool = stem, nn.Identity()
    elif isinstance(
        network, torchvision.models.MobileNetV2 | torchvision.models.MobileNetV3 | torchvision.models.EfficientNet
    ):
        network.features[0][0].stride = (1, 1)


def _first_weights(name: str, weights: str) -> dict[str, Tensor]:
    """By the names of the network's own parameters."""
    try:
        if weights == "imagenet":
            found = get_model_weights(name).DEFAULT
            return dict(found.get_state_dict(progress=False, check_hash=True))
        if weights.endswith(".safetensors"):
            return _without_prefix(load_file(weights))
        return _without_prefix(torch.load(weights, map_location="cpu", weights_only=True))
    except URLError as error:
        file = found.url.rpartition("/")[2]
        raise ModelError(
            f"train.weights: {found.url} cannot be reached ({error.reason}); put it at "
            f"{torch.hub.get_dir()}/checkpoints/{file}, or give a file's path"
        ) from None
    except UnpicklingError:
        raise ModelError(
            f"train.weights: {weights} is no file of tensors alone, and a pickle can run code when it is loaded; save "
            "its state_dict"
        ) from None
    except (OSError, SafetensorError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelError(f"train.weights: {weights} holds no weights that can be read: {_line(error)}") from None


def _load(network: nn.Module, state: Mapping[str, Tensor], place: str) -> None:
    """Take what fits; all must but the last layer. Raises ModelError."""
    own, (head, _) = network.state_dict(), _head(network)
    fits = {name: state[name] for name, value in own.items() if name in state and state[name].shape == value.shape}
    lacking = [name for name in own if name not in fits and not name.startswith(f"{head}.")]
    if lacking := [name for name in lacking if not name.endswith("num_batches_tracked")]:
        what = f"in the shape {tuple(own[lacking[0]].shape)}" if lacking[0] in state else "at all"
        raise ModelError(f"train.weights: {place} is of another network: it has no {lacking[0]!r} {what}")
    load_weights(network, fits)


def _head(network: nn.Module) -> tuple[str, nn.Module]:
    """The last layer and its name; in SqueezeNet and U-Net it is a convolution."""
    named = list(network.named_modules())
    linear = [one for one in named if isinstance(one[1], nn.Linear)]
    last: tuple[str, nn.Module] = (linear or [one for one in named if isinstance(one[1], nn.Conv2d)])[-1]
    return last


@torch.inference_mode()
def _check_takes(network: nn.Module, form: NetworkInfo) -> None:
    training = network.training
    try:
        network.eval()(torch.zeros(1, 3, *form.shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        height, width = form.shape
        raise SpecError(
            f"train.model: {form.model} cannot take images of {height}x{width} ({_line(error)[:80]}); set "
            "train.image_size, to 224 for most"
        ) from None
    network.train(training)


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_PREFIX): value for name, value in state.items()}


def _line(error: Exception) -> str:
    return str(error).split("\n")[0]
