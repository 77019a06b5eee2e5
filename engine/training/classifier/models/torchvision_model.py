"""The classifiers of torchvision, each by its name there."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.error import URLError

from engine.config.classifier_settings import CLASSIFIERS, ClassifierSettings
from engine.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

_SMALL = 64  # longer side, in pixels, of images that are too small for a network's first strides
_AUXILIARY = {"aux_logits": False, "init_weights": True}
_OPTIONS = {"googlenet": _AUXILIARY, "inception_v3": _AUXILIARY}


class TorchvisionSettings(ClassifierSettings):
    """Settings of a classifier of torchvision, which has none but its name."""

    # fmt: off
    # Written out, so that a spec is checked without importing torch; a test compares it with torchvision's own list.
    kind: Literal[
        "alexnet", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "densenet121", "densenet161",
        "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
        "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l",
        "efficientnet_v2_m", "efficientnet_v2_s", "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "mnasnet0_75",
        "mnasnet1_0", "mnasnet1_3", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_16gf",
        "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf",
        "regnet_y_128gf", "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf", "regnet_y_400mf",
        "regnet_y_800mf", "regnet_y_8gf", "resnet101", "resnet152", "resnet18", "resnet34", "resnet50",
        "resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0",
        "shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "squeezenet1_0", "squeezenet1_1", "swin_b", "swin_s", "swin_t",
        "swin_v2_b", "swin_v2_s", "swin_v2_t", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19",
        "vgg19_bn", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32", "wide_resnet101_2", "wide_resnet50_2",
    ]
    # fmt: on

    @property
    def has_pretrained_weights(self) -> bool:
        """True: torchvision publishes ImageNet weights of each."""
        return True

    def load_pretrained(self) -> Mapping[str, Any]:
        """Return ImageNet weights from torch's hub cache, or from its server."""
        import torch
        from torchvision.models import get_model_weights

        weights = get_model_weights(self.kind).DEFAULT
        try:
            return dict(weights.get_state_dict(progress=False, check_hash=True))
        except URLError as error:
            cached = f"{torch.hub.get_dir()}/checkpoints/{weights.url.rpartition('/')[2]}"
            raise ModelError(
                f"train.weights: {weights.url} cannot be reached ({error.reason}); put it at {cached}, or give a "
                "file's path"
            ) from None


def make_torchvision_model(
    settings: TorchvisionSettings, shape: tuple[int, int], classes: int, first_weights: Mapping[str, Any] | None
) -> Any:
    """Return the network with random weights, with a stem for small images unless the first weights have another."""
    import torch
    from torchvision.models import get_model

    options = {"image_size": shape[0]} if settings.kind.startswith("vit_") else _OPTIONS.get(settings.kind, {})
    network = get_model(settings.kind, weights=None, num_classes=classes, **options)
    if max(shape) <= _SMALL:
        _keep_resolution(network, first_weights)
    return network.to(memory_format=torch.channels_last)


def _keep_resolution(network: "nn.Module", first_weights: Mapping[str, Any] | None) -> None:
    """Set the first stride to 1, in a ResNet by a 3x3 stem (He et al., "Deep Residual Learning", 2016, section 4.2)."""
    from torch import nn
    from torchvision.models import EfficientNet, MobileNetV2, MobileNetV3, ResNet

    if isinstance(network, ResNet):
        stem = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
        if first_weights is None or first_weights["conv1.weight"].shape == stem.weight.shape:
            nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
            network.conv1, network.maxpool = stem, nn.Identity()
    elif isinstance(network, MobileNetV2 | MobileNetV3 | EfficientNet):
        network.features[0][0].stride = (1, 1)


CLASSIFIERS.register(TorchvisionSettings, make_torchvision_model)
