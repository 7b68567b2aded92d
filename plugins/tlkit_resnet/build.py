"""torchvision's ResNets as stages."""

from collections.abc import Callable

from torch import nn
from torchvision.models import resnet
from torchvision.models.resnet import ResNet

from tlkit.network import Stage


def _stages(build: Callable[..., ResNet]) -> dict[str, nn.Module]:
    net = build(weights=None)
    stem = Stage({"conv1": net.conv1, "bn1": net.bn1, "relu": net.relu, "maxpool": net.maxpool})
    return {"stem": stem, **{name: Stage({name: getattr(net, name)}) for name in ("layer1", "layer2", "layer3", "layer4")}}


def resnet18() -> dict[str, nn.Module]:
    """Build ResNet-18 without its classifier."""
    return _stages(resnet.resnet18)


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
