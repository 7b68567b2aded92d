"""torchvision's SqueezeNets as stages."""

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.models import squeezenet

from tlkit import network
from tlkit_squeezenet import NAMES, PLACES


def _stages(library: Callable[..., squeezenet.SqueezeNet], version: str) -> dict[str, nn.Module]:
    made, starts = library(weights=None), PLACES[version]
    ends = (*starts[1:], starts[-1] + 1)  # a pooling belongs to the stage before it
    stages = {
        name: tuple(f"features.{place}" for place in range(start, end))
        for name, start, end in zip(NAMES, starts, ends, strict=True)
    }
    return network.cut(made, stages)


# Each builds its network without its classifier.
squeezenet1_0 = partial(_stages, squeezenet.squeezenet1_0, "1_0")
squeezenet1_1 = partial(_stages, squeezenet.squeezenet1_1, "1_1")
