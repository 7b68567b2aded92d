"""torchvision's AlexNet as stages."""

from torch import nn
from torchvision.models import alexnet as library

from tlkit import network


def alexnet() -> dict[str, nn.Module]:
    """Build AlexNet up to its last hidden layer, 4096 values."""
    return network.cut(
        library(weights=None),
        {
            "conv1": ("features.0", "features.1", "features.2"),
            "conv2": ("features.3", "features.4", "features.5"),
            "conv3": ("features.6", "features.7"),
            "conv4": ("features.8", "features.9"),
            "conv5": ("features.10", "features.11", "features.12"),
            "fc6": ("avgpool", "flatten", "classifier.0", "classifier.1", "classifier.2"),
            "fc7": ("classifier.3", "classifier.4", "classifier.5"),
        },
        flatten=nn.Flatten(),
    )
