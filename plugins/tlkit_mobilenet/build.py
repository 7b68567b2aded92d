"""torchvision's MobileNets as stages."""

from torch import nn
from torchvision.models import mobilenetv2, mobilenetv3

from tlkit import network
from tlkit_mobilenet import places


def mobilenet_v2() -> dict[str, nn.Module]:
    """Build MobileNet v2 without its classifier."""
    return network.cut(mobilenetv2.mobilenet_v2(weights=None), places("v2"))


def mobilenet_v3_large() -> dict[str, nn.Module]:
    """Build MobileNet v3 large up to its hidden layer, 1280 values."""
    return _v3(mobilenetv3.mobilenet_v3_large(weights=None), "v3_large")


def mobilenet_v3_small() -> dict[str, nn.Module]:
    """Build MobileNet v3 small up to its hidden layer, 1024 values."""
    return _v3(mobilenetv3.mobilenet_v3_small(weights=None), "v3_small")


def _v3(library: mobilenetv3.MobileNetV3, version: str) -> dict[str, nn.Module]:
    hidden = ("avgpool", "flatten", "classifier.0", "classifier.1", "classifier.2")
    return network.cut(library, {**places(version), "hidden": hidden}, flatten=nn.Flatten())
