"""ResNet-18 to ResNet-152, He et al. 2016 (arXiv:1512.03385), as torchvision builds them."""

from dataclasses import replace

from tlkit.plugin import IMAGENET, Backbone, Convention, Download, Weights

_STAGES = {"stem": ("conv1", "bn1"), "layer1": ("layer1",), "layer2": ("layer2",), "layer3": ("layer3",), "layer4": ("layer4",)}

# torchvision's second recipe (2021) was evaluated after a resize to 232 pixels: torchvision.models.ResNet50_Weights.IMAGENET1K_V2.
_V2 = replace(IMAGENET, crop=224 / 232)


def _weights(file: str, convention: Convention = IMAGENET) -> Weights:
    # The eight digits in torch's file names are the beginning of the file's sha256.
    digits = file.removesuffix(".pth").rpartition("-")[2]
    source = Download(url=f"https://download.pytorch.org/models/{file}", checksum=f"sha256:{digits}", filename=file)
    return Weights(source=source, input=convention, licence="BSD-3-Clause (torchvision)", summary="ImageNet-1k, torchvision")


def _resnet(depth: int, features: int, weights: dict[str, Weights]) -> Backbone:
    return Backbone(
        build=f"tlkit_resnet.build:resnet{depth}",
        stages=_STAGES,
        features=features,
        classifier="fc",
        library=f"torchvision.models.resnet{depth}",
        weights=weights,
        summary=f"ResNet-{depth}, torchvision",
    )


resnet18 = _resnet(18, 512, {"imagenet1k-v1": _weights("resnet18-f37072fd.pth")})
resnet34 = _resnet(34, 512, {"imagenet1k-v1": _weights("resnet34-b627a593.pth")})
resnet50 = _resnet(
    50, 2048, {"imagenet1k-v1": _weights("resnet50-0676ba61.pth"), "imagenet1k-v2": _weights("resnet50-11ad3fa6.pth", _V2)}
)
resnet101 = _resnet(
    101, 2048, {"imagenet1k-v1": _weights("resnet101-63fe2227.pth"), "imagenet1k-v2": _weights("resnet101-cd907fc2.pth", _V2)}
)
resnet152 = _resnet(
    152, 2048, {"imagenet1k-v1": _weights("resnet152-394f9c45.pth"), "imagenet1k-v2": _weights("resnet152-f82ba261.pth", _V2)}
)
