"""A decoder that doubles the size of the maps and joins those of the backbone: Ronneberger et al. 2015, arXiv:1505.04597.

The blocks are those of segmentation_models_pytorch's Unet, so its weights fit where the backbone's maps are the same.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tlkit.errors import TlkitError
from tlkit.plugin import FeatureMap
from tlkit_heads import UnetOptions
from tlkit_heads.pixels.layers import ConvNormReLU, Size, initialise_

WIDTHS = (256, 128, 64, 32, 16)  # of segmentation_models_pytorch
_NEAR = 0.1  # 300 pixels that make 10 columns have a stride of 30, by convolutions whose strides make 32


class Block(nn.Module):
    """Enlarge a map, join it with one of the backbone, and take two 3x3 convolutions."""

    def __init__(self, inputs: int, joined: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = ConvNormReLU(inputs + joined, outputs, 3)
        self.conv2 = ConvNormReLU(outputs, outputs, 3)

    def forward(self, x: Tensor, size: Size, joined: Tensor | None) -> Tensor:
        """Return (N, outputs, *size) of x (N, inputs, h, w) and a map (N, joined, *size), where there is one."""
        x = nn.functional.interpolate(x, size=size, mode="nearest")
        return self.conv2(self.conv1(x if joined is None else torch.cat([x, joined], dim=1)))  # type: ignore[no-any-return]  # torch leaves it untyped


class Unet(nn.Module):
    """A block for every doubling from the deepest map to the picture, and a 3x3 convolution.

    Args:
        features: The backbone's maps, shallow to deep; strides are powers of two.
        classes: Of a pixel.
        widths: Channels after each block.
    """

    def __init__(self, features: Sequence[FeatureMap], classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        by_stride = {each.stride: index for index, each in enumerate(features)}
        self.strides = tuple(features[-1].stride // 2 ** (number + 1) for number in range(len(widths)))
        self.joined = tuple(by_stride.get(stride) for stride in self.strides)
        inputs = [features[-1].channels, *widths]
        beside = [0 if index is None else features[index].channels for index in self.joined]
        self.blocks = nn.ModuleList(Block(*each) for each in zip(inputs, beside, widths, strict=False))
        self.last = nn.Conv2d(inputs[-1], classes, 3, padding=1)
        initialise_(self.blocks, self.last)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Return logits (N, classes, H, W) of the backbone's maps."""
        x = maps[-1]
        for block, stride, index in zip(self.blocks, self.strides, self.joined, strict=True):
            joined = None if index is None else maps[index]
            shape = (-(-size[0] // stride), -(-size[1] // stride)) if joined is None else joined.shape[2:]
            x = block(x, (shape[0], shape[1]), joined)
        return self.last(x)  # type: ignore[no-any-return]  # torch leaves it untyped


def unet(features: Sequence[FeatureMap], classes: int, options: UnetOptions) -> nn.Module:
    """Build the unet head.

    Raises:
        TlkitError: the maps' strides are no powers of two, or all the same; or there are other widths than doublings.
    """
    features = [replace(each, stride=_doubled(each.stride)) for each in features]
    strides = [each.stride for each in features]
    doublings = strides[-1].bit_length() - 1
    if len(strides) < 2 or any(stride & (stride - 1) for stride in strides):
        raise TlkitError(
            f"head.kind: unet joins maps of several strides, each twice that before; this backbone's strides are {strides}.",
            'head.kind = "fpn" or "fcn", which read a single map too',
        )
    widths = options.widths if options.widths is not None else [WIDTHS[0]] * (doublings - len(WIDTHS)) + [*WIDTHS[-doublings:]]
    if len(widths) != doublings:
        raise TlkitError(
            f"head.options.widths: has {len(widths)} values; the deepest map of this backbone has stride {strides[-1]}, so there are "
            f"{doublings} doublings.",
            f"{doublings} values",
        )
    return Unet(features, classes, widths)


def _doubled(stride: int) -> int:
    """Return the power of two that a stride nearly is, else the stride. Blocks make maps as large as those they join, so near is enough."""
    power = 2 ** round(math.log2(stride))
    return power if abs(stride / power - 1) <= _NEAR else stride
