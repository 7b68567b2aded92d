"""RetinaNet: anchors of nine shapes at every place of a map, with classes and how a box differs from each: Lin et al. 2017, arXiv:1708.02002."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetHead, RetinaNetRegressionHead

from tlkit.plugin import ANCHOR_VALUES, FeatureMap
from tlkit_heads import RetinanetOptions
from tlkit_heads.boxes.pyramid import Pyramid, Size, joined, placed

_SIDE = 4  # sides of an anchor's square, times the stride of its level: 32 pixels at stride 8,
_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # and so much larger,
_RATIOS = (0.5, 1.0, 2.0)  # with these heights by width: section 4


class Retinanet(nn.Module):
    """A feature pyramid, and torchvision's convolutions of RetinaNet on each of its levels.

    Args:
        features: The backbone's maps, shallow to deep.
        outputs: Values of each anchor: the classes and `ANCHOR_VALUES`.
        options: Of the head.
    """

    def __init__(self, features: Sequence[FeatureMap], outputs: int, options: RetinanetOptions) -> None:
        super().__init__()
        self.pyramid = Pyramid(features, options.width, options.smallest)
        sizes = tuple(tuple(int(_SIDE * stride * scale) for scale in _SCALES) for stride in self.pyramid.strides)
        self._anchors = AnchorGenerator(sizes, (_RATIOS,) * len(sizes))
        head = RetinaNetHead(options.width, len(_SCALES) * len(_RATIOS), outputs - ANCHOR_VALUES)
        self.classification: RetinaNetClassificationHead = head.classification_head
        self.regression: RetinaNetRegressionHead = head.regression_head

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        """Return (N, outputs, anchors) of the backbone's maps."""
        levels = self.pyramid(maps)
        anchors, level = placed(self._anchors, levels, size)
        return joined([self.classification(levels), self.regression(levels), anchors, level])
