"""Networks by name: the images that they take, their first weights, and their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models import MobileNet_V3_Small_Weights, get_model, list_models

from engine.config.classifier_settings import CLASSIFIERS, ClassifierSettings
from engine.config.train_spec import TrainSpec
from engine.errors import ModelError, SpecError
from engine.training.classifier.network_factory import CENTRED, Network, build_network, dump_network, load_network

CLASSES = ("a", "b", "c")


def build(size: int = 32, **settings: object) -> Network:
    return build_network(TrainSpec.model_validate(settings), (size, size), CLASSES, CENTRED)


def random_images(size: int, count: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 255, (count, 3, size, size), dtype=np.uint8))


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"model": "small_cnn"}, 16),
        ({"model": "resnet18"}, 32),
        ({"model": "mobilenet_v3_small"}, 32),
        ({"model": "squeezenet1_1"}, 64),
        ({"model": "mnasnet0_5"}, 32),
        ({"model": "vit_b_32"}, 64),
        ({"model": {"kind": "vit", "patch": 8}}, 32),
    ],
)
def test_a_classifier_gives_logits_and_features(settings: dict, size: int) -> None:
    model = build(size, **settings).eval()
    assert model(random_images(size)).shape == (2, 3)
    features = model.features(random_images(size).permute(0, 2, 3, 1).numpy())
    assert features.ndim == 2
    assert np.square(features).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("size", [16, 21])
def test_a_unet_gives_logits_for_every_pixel(size: int) -> None:
    assert build(size, model="unet")(random_images(size)).shape == (2, 3, size, size)


def test_the_default_vit_has_the_size_of_the_rebalancing_recipe() -> None:
    vit = build(224, model="vit")
    block = 4 * 128 * 128 + 4 * 128 + 2 * 128 * 256 + 128 + 256 + 4 * 128
    rest = (3 * 16 * 16 + 1) * 128 + 128 + (196 + 1) * 128 + 2 * 128 + 3 * (128 + 1)
    assert sum(parameter.numel() for parameter in vit.parameters()) == 4 * block + rest


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_small_images_keep_their_resolution_in_the_first_block(name: str) -> None:
    def at_first(size: int) -> torch.Size:
        seen: list[torch.Size] = []
        model = build(size, model=name).eval()
        blocks = model.network.layer1 if name == "resnet18" else model.network.features[1]
        blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
        model(random_images(size))
        return seen[0]

    assert at_first(32) == (32, 32)
    assert max(at_first(128)) <= 64


def test_the_seed_decides_the_first_weights() -> None:
    first, same, other = (build(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("settings", [{"model": {"kind": "vit", "patch": 8}}, {"model": "mnasnet0_5"}])
def test_a_dumped_network_loads_as_the_same_network(settings: dict, tmp_path: Path) -> None:
    model = build(32, **settings).eval()
    (tmp_path / "m.safetensors").write_bytes(dump_network(model))
    again = load_network(tmp_path / "m.safetensors")
    assert again.info == model.info
    assert torch.equal(again(random_images(32)), model(random_images(32)))
    (tmp_path / "m.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="not a network that `train` wrote"):
        load_network(tmp_path / "m.safetensors")


def test_imagenet_weights_come_from_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    theirs = get_model("mobilenet_v3_small")
    cached = tmp_path / "hub/checkpoints" / MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    torch.save(theirs.state_dict(), cached)
    model = build(32, model="mobilenet_v3_small", weights="imagenet")
    assert torch.equal(model.network.features[0][0].weight, theirs.features[0][0].weight)
    assert model.network.classifier[3].out_features == 3


def test_unreachable_weights_name_the_file_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ModelError, match=r"cannot be reached .* put it at .*hub/checkpoints/resnet18-\w+\.pth"):
        build(32, model="resnet18", weights="imagenet")


@pytest.mark.parametrize(("name", "write"), [("w.pth", torch.save), ("w.safetensors", save_file)])
def test_first_weights_decide_the_stem_of_a_resnet(
    tmp_path: Path, name: str, write: Callable[[dict[str, torch.Tensor], Path], None]
) -> None:
    for theirs in (get_model("resnet18"), build(32, model="resnet18").network):
        write({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / name)
        model = build(32, model="resnet18", weights=str(tmp_path / name))
        assert torch.equal(model.network.conv1.weight, theirs.conv1.weight)
    with pytest.raises(ModelError, match=r"of another network: it has no '0\.weight' at all"):
        build(32, weights=str(tmp_path / name))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (exec, ("raise SystemExit",))

    torch.save({"0.weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="holds no weights that can be read"):
        build(32, weights=str(tmp_path / "nowhere.pth"))
    with pytest.raises(ModelError, match="no file of tensors alone, and a pickle can run code"):
        build(32, weights=str(tmp_path / "w.pth"))


def test_images_that_do_not_fit_a_network_are_refused() -> None:
    with pytest.raises(SpecError, match=r"alexnet cannot take images of 32x32 .* train.image_size"):
        build(32, model="alexnet")
    with pytest.raises(SpecError, match="32x32 cannot be cut into squares of 10"):
        build(32, model={"kind": "vit", "patch": 10})


def test_every_classifier_of_torchvision_is_known() -> None:
    assert {*list_models(module=torchvision.models), "small_cnn", "unet", "vit"} == set(CLASSIFIERS.known)


def test_a_registered_plugin_is_trained_by_its_name() -> None:
    class PixelMeanSettings(ClassifierSettings):
        kind: Literal["pixel_mean"]

    def make(settings: PixelMeanSettings, shape: tuple[int, int], classes: int, weights: object) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, classes))

    assert "pixel_mean" not in CLASSIFIERS.known
    CLASSIFIERS.register(PixelMeanSettings, make)
    try:
        assert build(16, model="pixel_mean")(random_images(16)).shape == (2, 3)
    finally:
        del CLASSIFIERS._plugins["pixel_mean"]
