"""torchvision's ResNets, wide ResNets and ResNeXts as stages."""

from collections.abc import Callable
from functools import partial

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


def resnet18_32px() -> dict[str, nn.Module]:
    """Build ResNet-18 without its classifier, with a stem for pictures of 32 pixels: a 3x3 convolution of stride 1, no max-pooling."""
    library = resnet.resnet18(weights=None)
    library.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(library.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision.models.resnet.ResNet
    return network.cut(library, _LAYERS | {"stem": ("conv1", "bn1", "relu")})


# Each builds its network without its classifier.
resnet18 = partial(_stages, resnet.resnet18)
resnet34 = partial(_stages, resnet.resnet34)
resnet50 = partial(_stages, resnet.resnet50)
resnet101 = partial(_stages, resnet.resnet101)
resnet152 = partial(_stages, resnet.resnet152)
wide_resnet50_2 = partial(_stages, resnet.wide_resnet50_2)
wide_resnet101_2 = partial(_stages, resnet.wide_resnet101_2)
resnext50_32x4d = partial(_stages, resnet.resnext50_32x4d)
resnext101_32x8d = partial(_stages, resnet.resnext101_32x8d)
resnext101_64x4d = partial(_stages, resnet.resnext101_64x4d)
