"""A feature pyramid whose maps are brought to one size and added up: Kirillov et al. 2019, arXiv:1901.02446.

The blocks are those of segmentation_models_pytorch's FPN, so its weights fit where the backbone's maps are the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tlkit.plugin import FeatureMap
from tlkit_heads import FpnOptions
from tlkit_heads.pixels.layers import Size, enlarged, initialise_

_LARGEST = 4  # stride of the largest map that the pyramid has
_GROUPS = 32  # of GroupNorm


class Enlarging(nn.Module):
    """3x3 convolutions with GroupNorm and ReLU, after each of which the map is enlarged; with none to go, one that keeps the size."""

    def __init__(self, inputs: int, outputs: int, doublings: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(outputs if number else inputs, outputs, 3, padding=1, bias=False),
                nn.GroupNorm(_GROUPS, outputs),
                nn.ReLU(),
            )
            for number in range(max(doublings, 1))
        )

    def forward(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Return (N, outputs, ...) of the last size, having gone through all; of none, the size of x."""
        for number, convolution in enumerate(self.block):
            x = convolution(x)
            x = enlarged(x, sizes[number]) if sizes else x
        return x


class Fpn(nn.Module):
    """A pyramid of the maps from stride 4 on, or of a single one, and a 1x1 convolution.

    Args:
        features: The backbone's maps, shallow to deep.
        classes: Of a pixel.
        options: Of the head.
    """

    def __init__(self, features: Sequence[FeatureMap], classes: int, options: FpnOptions) -> None:
        super().__init__()
        self.first = next((at for at, each in enumerate(features) if each.stride >= _LARGEST), len(features) - 1)
        deepest_first = [each.channels for each in features[self.first :]][::-1]
        self.lateral = nn.ModuleList(nn.Conv2d(channels, options.pyramid, 1) for channels in deepest_first)
        self.blocks = nn.ModuleList(
            Enlarging(options.pyramid, options.width, doublings) for doublings in reversed(range(len(deepest_first)))
        )
        self.dropout = nn.Dropout2d(options.dropout)
        self.last = nn.Conv2d(options.width, classes, 1)
        initialise_(nn.ModuleList([self.lateral, self.blocks]), self.last)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Return logits (N, classes, H, W) of the backbone's maps."""
        deepest_first = maps[self.first :][::-1]
        sizes: list[Size] = [(each.shape[2], each.shape[3]) for each in deepest_first]
        pyramid: list[Tensor] = []
        for lateral, each in zip(self.lateral, deepest_first, strict=True):
            own = lateral(each)
            pyramid.append(
                own + nn.functional.interpolate(pyramid[-1], size=each.shape[2:], mode="nearest") if pyramid else own
            )
        brought = [block(x, sizes[at + 1 :]) for at, (block, x) in enumerate(zip(self.blocks, pyramid, strict=True))]
        return enlarged(self.last(self.dropout(torch.stack(brought).sum(0))), size)
