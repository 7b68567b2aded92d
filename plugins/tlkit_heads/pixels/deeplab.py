"""DeepLab v3+: dilated convolutions of several rates on the deepest map, joined with that of stride 4: Chen et al. 2018, arXiv:1802.02611.

The backbone is not dilated, as its stages are what a recipe freezes and stores; the rates are those for stride 16.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tlkit.plugin import FeatureMap
from tlkit_heads import DeeplabOptions
from tlkit_heads.pixels.layers import ConvNormReLU, Size, enlarged, initialise_

_LARGEST = 4  # stride of the map that is joined
_JOINED = 48  # channels that it is brought to: section 4.1


class Pooled(nn.Module):
    """The mean over the map, a linear layer and ReLU, everywhere on the map. No BatchNorm: a batch may be of one picture."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) of (N, inputs, h, w)."""
        pooled = torch.relu(self.conv(x.mean((2, 3), keepdim=True)))
        return pooled.expand(-1, -1, *x.shape[2:])


class Deeplab(nn.Module):
    """Dilated convolutions, the map of stride 4 where the backbone has one, and a 1x1 convolution.

    Args:
        features: The backbone's maps, shallow to deep.
        classes: Of a pixel.
        options: Of the head.
    """

    def __init__(self, features: Sequence[FeatureMap], classes: int, options: DeeplabOptions) -> None:
        super().__init__()
        deepest, width = features[-1].channels, options.width
        self.first = next((at for at, each in enumerate(features[:-1]) if each.stride >= _LARGEST), None)
        self.dilated = nn.ModuleList(
            [ConvNormReLU(deepest, width, 1), *(ConvNormReLU(deepest, width, 3, rate) for rate in options.rates)]
        )
        self.pooled = Pooled(deepest, width)
        self.project = nn.Sequential(
            ConvNormReLU(width * (len(options.rates) + 2), width, 1), nn.Dropout(options.dropout), ConvNormReLU(width, width, 3)
        )
        beside = 0 if self.first is None else _JOINED
        self.reduce = nn.Identity() if self.first is None else ConvNormReLU(features[self.first].channels, _JOINED, 1)
        self.fuse = ConvNormReLU(width + beside, width, 3)
        self.last = nn.Conv2d(width, classes, 1)
        initialise_(nn.ModuleList([self.dilated, self.pooled, self.project, self.reduce, self.fuse]), self.last)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Return logits (N, classes, H, W) of the backbone's maps."""
        deepest = maps[-1]
        x = self.project(torch.cat([*(each(deepest) for each in self.dilated), self.pooled(deepest)], dim=1))
        if self.first is not None:
            joined = self.reduce(maps[self.first])
            x = torch.cat([enlarged(x, (joined.shape[2], joined.shape[3])), joined], dim=1)
        return enlarged(self.last(self.fuse(x)), size)
