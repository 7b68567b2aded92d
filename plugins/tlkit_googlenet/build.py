"""torchvision's GoogLeNet as stages, and its auxiliary classifiers."""

from functools import partial

from torch import nn
from torchvision.models.googlenet import InceptionAux
from torchvision.models.googlenet import googlenet as library

from tlkit import network
from tlkit.network import Rescale
from tlkit.plugin import IMAGENET
from tlkit_googlenet import STAGES

_AFTER = {"conv1": "maxpool1", "conv3": "maxpool2", "inception3b": "maxpool3", "inception4e": "maxpool4"}


def googlenet() -> dict[str, nn.Module]:
    """Build GoogLeNet without its classifiers."""
    made = library(weights=None, aux_logits=False, init_weights=True)
    names = {name: (name, _AFTER[name]) if name in _AFTER else (name,) for name in STAGES}
    names["conv1"] = ("rescale", *names["conv1"])
    return network.cut(made, names, rescale=Rescale(IMAGENET, mean=0.5, std=0.5))


def _auxiliary(channels: int, classes: int) -> nn.Module:
    made: nn.Module = InceptionAux(channels, classes)
    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.01, a=-2, b=2)  # as torchvision.models.googlenet.GoogLeNet
    return made


first = partial(_auxiliary, 512)  # on inception4a, (N, 512, h, w) -> (N, classes)
second = partial(_auxiliary, 528)  # on inception4d, (N, 528, h, w) -> (N, classes)
