"""What is published of each named set of weights: accuracy on ImageNet, parameters, operations and bytes. Imports no torch.

Seconds are no part of it, because they are of a machine: `tlkit advise` measures them where it runs.

Sources: torchvision 0.29's own metadata (`torchvision.models.get_model_weights`), of the files that the backbones name; of
efficientnet_lite0 the README of the network's authors (github.com/tensorflow/tpu, models/official/efficientnet/lite).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """What is published of a set of weights.

    Attributes:
        top1: Accuracy on ImageNet's validation images, percent.
        parameters: Of the whole network, in millions.
        operations: Multiply-adds of an image of the size of that accuracy, in thousand millions.
        megabytes: Size of the file.
    """

    top1: float
    parameters: float
    operations: float
    megabytes: float


def published(backbone: str, weights: str) -> Published | None:
    """Return what is published of a backbone's weights; None of others than those below."""
    row = _TABLE.get((backbone, weights))
    return None if row is None else Published(*row)


def typical() -> float:
    """Return the median accuracy of all sets, percent."""
    return statistics.median(row[0] for row in _TABLE.values())


_TABLE: dict[tuple[str, str], tuple[float, float, float, float]] = {
    ("alexnet", "imagenet1k-v1"): (56.5, 61.1, 0.71, 233),
    ("densenet121", "imagenet1k-v1"): (74.4, 8.0, 2.83, 31),
    ("densenet161", "imagenet1k-v1"): (77.1, 28.7, 7.73, 110),
    ("densenet169", "imagenet1k-v1"): (75.6, 14.1, 3.36, 55),
    ("densenet201", "imagenet1k-v1"): (76.9, 20.0, 4.29, 77),
    ("efficientnet_lite0", "imagenet"): (75.1, 4.7, 0.41, 18),
    ("googlenet", "imagenet1k-v1"): (69.8, 6.6, 1.50, 50),
    ("inception_v3", "imagenet1k-v1"): (77.3, 27.2, 5.71, 104),
    ("mobilenet_v2", "imagenet1k-v1"): (71.9, 3.5, 0.30, 14),
    ("mobilenet_v2", "imagenet1k-v2"): (72.2, 3.5, 0.30, 14),
    ("mobilenet_v3_large", "imagenet1k-v1"): (74.0, 5.5, 0.22, 21),
    ("mobilenet_v3_large", "imagenet1k-v2"): (75.3, 5.5, 0.22, 21),
    ("mobilenet_v3_small", "imagenet1k-v1"): (67.7, 2.5, 0.06, 10),
    ("resnet101", "imagenet1k-v1"): (77.4, 44.5, 7.80, 171),
    ("resnet101", "imagenet1k-v2"): (81.9, 44.5, 7.80, 171),
    ("resnet152", "imagenet1k-v1"): (78.3, 60.2, 11.51, 230),
    ("resnet152", "imagenet1k-v2"): (82.3, 60.2, 11.51, 230),
    ("resnet18", "imagenet1k-v1"): (69.8, 11.7, 1.81, 45),
    ("resnet34", "imagenet1k-v1"): (73.3, 21.8, 3.66, 83),
    ("resnet50", "imagenet1k-v1"): (76.1, 25.6, 4.09, 98),
    ("resnet50", "imagenet1k-v2"): (80.9, 25.6, 4.09, 98),
    ("resnext101_32x8d", "imagenet1k-v1"): (79.3, 88.8, 16.41, 340),
    ("resnext101_32x8d", "imagenet1k-v2"): (82.8, 88.8, 16.41, 340),
    ("resnext101_64x4d", "imagenet1k-v1"): (83.2, 83.5, 15.46, 319),
    ("resnext50_32x4d", "imagenet1k-v1"): (77.6, 25.0, 4.23, 96),
    ("resnext50_32x4d", "imagenet1k-v2"): (81.2, 25.0, 4.23, 96),
    ("squeezenet1_0", "imagenet1k-v1"): (58.1, 1.2, 0.82, 5),
    ("squeezenet1_1", "imagenet1k-v1"): (58.2, 1.2, 0.35, 5),
    ("vgg11", "imagenet1k-v1"): (69.0, 132.9, 7.61, 507),
    ("vgg11_bn", "imagenet1k-v1"): (70.4, 132.9, 7.61, 507),
    ("vgg13", "imagenet1k-v1"): (69.9, 133.0, 11.31, 508),
    ("vgg13_bn", "imagenet1k-v1"): (71.6, 133.1, 11.31, 508),
    ("vgg16", "imagenet1k-v1"): (71.6, 138.4, 15.47, 528),
    ("vgg16_bn", "imagenet1k-v1"): (73.4, 138.4, 15.47, 528),
    ("vgg19", "imagenet1k-v1"): (72.4, 143.7, 19.63, 548),
    ("vgg19_bn", "imagenet1k-v1"): (74.2, 143.7, 19.63, 548),
    ("wide_resnet101_2", "imagenet1k-v1"): (78.8, 126.9, 22.75, 243),
    ("wide_resnet101_2", "imagenet1k-v2"): (82.5, 126.9, 22.75, 485),
    ("wide_resnet50_2", "imagenet1k-v1"): (78.5, 68.9, 11.40, 132),
    ("wide_resnet50_2", "imagenet1k-v2"): (81.6, 68.9, 11.40, 263),
}
