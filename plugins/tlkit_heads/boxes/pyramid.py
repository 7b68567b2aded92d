"""The feature pyramid of FCOS and RetinaNet, and the anchors on its levels: Lin et al. 2017, arXiv:1612.03144.

The modules are those of torchvision's `fcos_resnet50_fpn` and `retinanet_resnet50_fpn`, so their tensors fit where the maps are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from tlkit.plugin import FeatureMap

Size = tuple[int, int]
_BEYOND = 2  # levels above the backbone's deepest map, each of twice the stride


class Pyramid(nn.Module):
    """Maps of one width: of every stride of the backbone from the smallest on, and of two more.

    Args:
        features: The backbone's maps, shallow to deep.
        width: Channels of every level.
        smallest: Stride of the largest map that the pyramid has; of a backbone without such a map the next one.
    """

    def __init__(self, features: Sequence[FeatureMap], width: int, smallest: int) -> None:
        super().__init__()
        self.first = next((at for at, each in enumerate(features) if each.stride >= smallest), len(features) - 1)
        used = features[self.first :]
        deepest = used[-1].stride
        self.strides = (*(each.stride for each in used), *(deepest * 2 ** (1 + beyond) for beyond in range(_BEYOND)))
        self.fpn = FeaturePyramidNetwork([each.channels for each in used], width, LastLevelP6P7(width, width))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return a map (N, width, h, w) of each level."""
        return list(self.fpn({str(at): each for at, each in enumerate(maps[self.first :])}).values())


def placed(generator: AnchorGenerator, levels: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
    """Return the anchors on the levels of a pyramid, and the number of the level of each.

    Args:
        generator: Of the head.
        levels: The maps (N, width, h, w).
        size: Height and width of the images, pixels.

    Returns:
        (N, anchors, 4) left, top, right, bottom in pixels, and (N, anchors, 1), both float32.
    """
    shapes = [
        each[:1, :1].float() for each in levels
    ]  # anchors have the type of the maps, and half precision is too coarse for pixels
    (anchors,) = generator(ImageList(shapes[0].new_empty((1, 1, *size)), [size]), shapes)  # (anchors, 4)
    places = generator.num_anchors_per_location()
    counts = [each.shape[2] * each.shape[3] * here for each, here in zip(levels, places, strict=True)]
    numbers = torch.cat([anchors.new_full((count, 1), level) for level, count in enumerate(counts)])
    images = len(levels[0])
    return anchors.expand(images, -1, -1), numbers.expand(images, -1, -1)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return (N, values, anchors) float32 of tensors (N, anchors, values): see `tlkit.plugin.Head`."""
    return torch.cat([each.float() for each in parts], 2).transpose(1, 2)
