"""The ResNets for CIFAR of He et al. 2016 (arXiv:1512.03385), section 4.2: three stages of 16, 32 and 64 channels at 32, 16 and 8 px.

Shortcuts are of option A: where a stage begins, every second pixel and zeros for the new channels, without parameters.
"""

from dataclasses import replace

from tlkit.plugin import IMAGENET, Backbone, Download, Weights

STAGES = {"stem": ("conv1", "bn1"), "layer1": ("layer1",), "layer2": ("layer2",), "layer3": ("layer3",)}
_INPUT = replace(IMAGENET, crop=1.0)  # ImageNet's mean and std, with which the weights below were trained
_FILES = {20: "resnet20-12fca82f.th", 32: "resnet32-d509ac18.th", 44: "resnet44-014dd654.th", 56: "resnet56-4bfd9763.th"}
_SITE = "https://raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/master/pretrained_models/"


def _weights(depth: int) -> Weights:
    file = _FILES[depth]  # its digits are the beginning of the file's sha256
    checksum = f"sha256:{file.removesuffix('.th').rpartition('-')[2]}"
    return Weights(
        source=Download(url=_SITE + file, checksum=checksum, filename=file),
        input=_INPUT,
        classes=10,
        licence="BSD-2-Clause (akamaster/pytorch_resnet_cifar10)",
        summary="CIFAR-10, Y. Idelbayev's implementation",
    )


def _resnet(depth: int) -> Backbone:
    return Backbone(
        build=f"tlkit_cifar_resnet.build:resnet{depth}",
        stages=STAGES,
        features=64,
        classifier="linear",
        input=_INPUT,
        weights={"cifar10": _weights(depth)},
        image_size=32,
        minimum_size=8,
        summary=f"ResNet-{depth} for CIFAR, option-A shortcuts",
    )


cifar_resnet20 = _resnet(20)
cifar_resnet32 = _resnet(32)
cifar_resnet44 = _resnet(44)
cifar_resnet56 = _resnet(56)
