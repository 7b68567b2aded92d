"""torchvision's ResNets, wide ResNets and ResNeXts as stages."""

from collections.abc import Callable

from torch import nn
from torchvision.models import resnet

from tlkit import network

_LAYERS = {
    "stem": ("conv1", "bn1", "relu", "maxpool"),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4",),
}


def _stages(build: Callable[..., resnet.ResNet]) -> dict[str, nn.Module]:
    return network.cut(build(weights=None), _LAYERS)


def resnet18() -> dict[str, nn.Module]:
    """Build ResNet-18 without its classifier."""
    return _stages(resnet.resnet18)


def resnet18_32px() -> dict[str, nn.Module]:
    """Build ResNet-18 without its classifier, with a stem for pictures of 32 pixels: a 3x3 convolution of stride 1, no max-pooling."""
    library = resnet.resnet18(weights=None)
    library.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(library.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision.models.resnet.ResNet
    return network.cut(library, _LAYERS | {"stem": ("conv1", "bn1", "relu")})


def resnet34() -> dict[str, nn.Module]:
    """Build ResNet-34 without its classifier."""
    return _stages(resnet.resnet34)


def resnet50() -> dict[str, nn.Module]:
    """Build ResNet-50 without its classifier."""
    return _stages(resnet.resnet50)


def resnet101() -> dict[str, nn.Module]:
    """Build ResNet-101 without its classifier."""
    return _stages(resnet.resnet101)


def resnet152() -> dict[str, nn.Module]:
    """Build ResNet-152 without its classifier."""
    return _stages(resnet.resnet152)


def wide_resnet50_2() -> dict[str, nn.Module]:
    """Build wide ResNet-50-2 without its classifier."""
    return _stages(resnet.wide_resnet50_2)


def wide_resnet101_2() -> dict[str, nn.Module]:
    """Build wide ResNet-101-2 without its classifier."""
    return _stages(resnet.wide_resnet101_2)


def resnext50_32x4d() -> dict[str, nn.Module]:
    """Build ResNeXt-50 32x4d without its classifier."""
    return _stages(resnet.resnext50_32x4d)


def resnext101_32x8d() -> dict[str, nn.Module]:
    """Build ResNeXt-101 32x8d without its classifier."""
    return _stages(resnet.resnext101_32x8d)


def resnext101_64x4d() -> dict[str, nn.Module]:
    """Build ResNeXt-101 64x4d without its classifier."""
    return _stages(resnet.resnext101_64x4d)
