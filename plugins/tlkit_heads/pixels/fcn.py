"""A 1x1 convolution on the last map: Long, Shelhamer & Darrell 2015, arXiv:1411.4038, without the joined maps."""

from collections.abc import Sequence

from torch import Tensor, nn

from tlkit.plugin import FeatureMap
from tlkit_heads import FcnOptions
from tlkit_heads.pixels.layers import Size, enlarged


class Fcn(nn.Module):
    """Dropout, a 1x1 convolution, and bilinear interpolation to the size of the picture."""

    def __init__(self, features: Sequence[FeatureMap], classes: int, options: FcnOptions) -> None:
        super().__init__()
        self.dropout = nn.Dropout(options.dropout)
        self.last = nn.Conv2d(features[-1].channels, classes, 1)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Return logits (N, classes, H, W) of one map (N, features, h, w)."""
        return enlarged(self.last(self.dropout(maps[-1])), size, corners=False)
