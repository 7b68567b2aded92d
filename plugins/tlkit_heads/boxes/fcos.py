"""FCOS: every place of a map gives its classes, the distances to the sides of a box, and how central it is: Tian et al. 2019, arXiv:1904.01355."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead, FCOSRegressionHead

from tlkit.plugin import POINT_VALUES, FeatureMap
from tlkit_heads import FcosOptions
from tlkit_heads.boxes.pyramid import Pyramid, Size, joined, placed


class Fcos(nn.Module):
    """A feature pyramid, and torchvision's convolutions of FCOS on each of its levels.

    Args:
        features: The backbone's maps, shallow to deep.
        outputs: Values of each place: the classes and `POINT_VALUES`.
        options: Of the head.
    """

    def __init__(self, features: Sequence[FeatureMap], outputs: int, options: FcosOptions) -> None:
        super().__init__()
        self.pyramid = Pyramid(features, options.width, options.smallest)
        head = FCOSHead(options.width, 1, outputs - POINT_VALUES, options.convolutions)
        self.classification: FCOSClassificationHead = head.classification_head
        self.regression: FCOSRegressionHead = head.regression_head
        self._anchors = AnchorGenerator(
            tuple((stride,) for stride in self.pyramid.strides), ((1.0,),) * len(self.pyramid.strides)
        )

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Return (N, outputs, places) of the backbone's maps."""
        levels = self.pyramid(maps)
        distances, central = self.regression(levels)
        anchors, level = placed(self._anchors, levels, size)
        return joined([self.classification(levels), distances, anchors, level, central])
