"""AlexNet as torchvision builds it: Krizhevsky 2014 (arXiv:1404.5997), one tower. Stages are named as in Caffe's."""

from tlkit.plugin import Backbone, pytorch

STAGES = {
    "conv1": ("features.0",),
    "conv2": ("features.3",),
    "conv3": ("features.6",),
    "conv4": ("features.8",),
    "conv5": ("features.10",),
    "fc6": ("classifier.1",),
    "fc7": ("classifier.4",),
}

alexnet = Backbone(
    build="tlkit_alexnet.build:alexnet",
    stages=STAGES,
    features=4096,
    classifier="classifier.6",
    library="torchvision.models.alexnet",
    weights={"imagenet1k-v1": pytorch("alexnet-owt-7be5be79.pth")},
    minimum_size=63,
    summary="AlexNet (one tower), torchvision",
)
