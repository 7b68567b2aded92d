"""ResNet-18 to -152 (He et al. 2016, arXiv:1512.03385), wide ResNets (Zagoruyko & Komodakis 2016, arXiv:1605.07146) and ResNeXts (Xie
et al. 2017, arXiv:1611.05431), as torchvision builds them; and ResNet-18 for pictures of 32 pixels.
"""

from dataclasses import replace

from tlkit.plugin import IMAGENET, Backbone, pytorch

_STAGES = {"stem": ("conv1", "bn1"), "layer1": ("layer1",), "layer2": ("layer2",), "layer3": ("layer3",), "layer4": ("layer4",)}

# torchvision's second recipe (2021) was evaluated after a resize to 232 pixels: torchvision.models.ResNet50_Weights.IMAGENET1K_V2.
_V2 = replace(IMAGENET, crop=224 / 232)


def _resnet(name: str, features: int, title: str, v1: str, v2: str = "") -> Backbone:
    weights = {"imagenet1k-v1": pytorch(v1)} | ({"imagenet1k-v2": pytorch(v2, _V2)} if v2 else {})
    return Backbone(
        build=f"tlkit_resnet.build:{name}",
        stages=_STAGES,
        features=features,
        classifier="fc",
        library=f"torchvision.models.{name}",
        weights=weights,
        summary=f"{title}, torchvision",
    )


resnet18 = _resnet("resnet18", 512, "ResNet-18", "resnet18-f37072fd.pth")
resnet34 = _resnet("resnet34", 512, "ResNet-34", "resnet34-b627a593.pth")
resnet50 = _resnet("resnet50", 2048, "ResNet-50", "resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth")
resnet101 = _resnet("resnet101", 2048, "ResNet-101", "resnet101-63fe2227.pth", "resnet101-cd907fc2.pth")
resnet152 = _resnet("resnet152", 2048, "ResNet-152", "resnet152-394f9c45.pth", "resnet152-f82ba261.pth")
wide_resnet50_2 = _resnet(
    "wide_resnet50_2", 2048, "wide ResNet-50-2", "wide_resnet50_2-95faca4d.pth", "wide_resnet50_2-9ba9bcbe.pth"
)
wide_resnet101_2 = _resnet(
    "wide_resnet101_2", 2048, "wide ResNet-101-2", "wide_resnet101_2-32ee1156.pth", "wide_resnet101_2-d733dc28.pth"
)
resnext50_32x4d = _resnet(
    "resnext50_32x4d", 2048, "ResNeXt-50 32x4d", "resnext50_32x4d-7cdf4587.pth", "resnext50_32x4d-1a0047aa.pth"
)
resnext101_32x8d = _resnet(
    "resnext101_32x8d", 2048, "ResNeXt-101 32x8d", "resnext101_32x8d-8ba56ff5.pth", "resnext101_32x8d-110c445d.pth"
)
# torchvision has one set for it, of the second recipe under the first name: ResNeXt101_64X4D_Weights.IMAGENET1K_V1.
resnext101_64x4d = replace(
    _resnet("resnext101_64x4d", 2048, "ResNeXt-101 64x4d", "resnext101_64x4d-173b62eb.pth"),
    weights={"imagenet1k-v1": pytorch("resnext101_64x4d-173b62eb.pth", _V2)},
)

# The usual ResNet-18 of papers on CIFAR: no stride and no max-pooling in the stem, so the four stages see 32, 16, 8 and 4 pixels. Its first
# convolution is 3x3, so no file of torchvision's network fits; the other names are torchvision's.
resnet18_32px = Backbone(
    build="tlkit_resnet.build:resnet18_32px",
    stages=_STAGES,
    features=512,
    classifier="fc",
    input=replace(IMAGENET, crop=1.0),
    image_size=32,
    minimum_size=8,
    summary="ResNet-18 for pictures of 32 pixels: 3x3 stem without max-pooling",
)
