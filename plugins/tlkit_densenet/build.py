"""torchvision's DenseNets as stages."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn
from torchvision.models import densenet

from tlkit import network

_LAYERS = {
    "stem": ("features.conv0", "features.norm0", "features.relu0", "features.pool0"),
    "denseblock1": ("features.denseblock1",),
    "transition1": ("features.transition1",),
    "denseblock2": ("features.denseblock2",),
    "transition2": ("features.transition2",),
    "denseblock3": ("features.denseblock3",),
    "transition3": ("features.transition3",),
    "denseblock4": ("features.denseblock4", "features.norm5", "relu"),
}


def _stages(library: Callable[..., densenet.DenseNet]) -> dict[str, nn.Module]:
    return network.cut(library(weights=None), _LAYERS, relu=nn.ReLU(inplace=True))


def without_dots(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the official files' names, from before torch 0.4, to today's: "denselayer1.norm.1" is "denselayer1.norm1"."""
    return {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", name): x for name, x in tensors.items()}


# Each builds its network without its classifier.
densenet121 = partial(_stages, densenet.densenet121)
densenet161 = partial(_stages, densenet.densenet161)
densenet169 = partial(_stages, densenet.densenet169)
densenet201 = partial(_stages, densenet.densenet201)
