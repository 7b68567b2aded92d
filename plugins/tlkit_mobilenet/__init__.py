"""MobileNet v2 (Sandler et al. 2018, arXiv:1801.04381) and v3 (Howard et al. 2019, arXiv:1905.02244), as torchvision builds them.

Stages end where the resolution halves, as the papers' tables are divided; `hidden` is v3's layer between pooling and classifier.
"""

from dataclasses import replace

from tlkit.plugin import IMAGENET, Backbone, pytorch

# Places of the inverted residuals of each stage in torchvision's `features`; stem is 0, and top the last convolution.
BLOCKS = {
    "v2": ((1, 2), (2, 4), (4, 7), (7, 11), (11, 14), (14, 17), (17, 18)),
    "v3_large": ((1, 2), (2, 4), (4, 7), (7, 11), (11, 13), (13, 16)),
    "v3_small": ((1, 2), (2, 4), (4, 7), (7, 9), (9, 12)),
}
_V2 = replace(IMAGENET, crop=224 / 232)  # torchvision's second recipe (2021) was evaluated after a resize to 232 pixels


def places(version: str) -> dict[str, tuple[str, ...]]:
    """Return torchvision's modules of every stage, but for the hidden layer of v3."""
    blocks = BLOCKS[version]
    named = {f"blocks{number}": tuple(f"features.{at}" for at in range(*each)) for number, each in enumerate(blocks)}
    return {"stem": ("features.0",), **named, "top": (f"features.{blocks[-1][1]}",)}


mobilenet_v2 = Backbone(
    build="tlkit_mobilenet.build:mobilenet_v2",
    stages=places("v2"),
    features=1280,
    classifier="classifier.1",
    library="torchvision.models.mobilenet_v2",
    weights={
        "imagenet1k-v1": pytorch("mobilenet_v2-b0353104.pth"),
        "imagenet1k-v2": pytorch("mobilenet_v2-7ebf99e0.pth", _V2),
    },
    dropout=0.2,
    summary="MobileNet v2, torchvision",
)
mobilenet_v3_large = Backbone(
    build="tlkit_mobilenet.build:mobilenet_v3_large",
    stages={**places("v3_large"), "hidden": ("classifier.0",)},
    features=1280,
    classifier="classifier.3",
    library="torchvision.models.mobilenet_v3_large",
    weights={
        "imagenet1k-v1": pytorch("mobilenet_v3_large-8738ca79.pth"),
        "imagenet1k-v2": pytorch("mobilenet_v3_large-5c1a4163.pth", _V2),
    },
    summary="MobileNet v3 large, torchvision",
)
mobilenet_v3_small = Backbone(
    build="tlkit_mobilenet.build:mobilenet_v3_small",
    stages={**places("v3_small"), "hidden": ("classifier.0",)},
    features=1024,
    classifier="classifier.3",
    library="torchvision.models.mobilenet_v3_small",
    weights={"imagenet1k-v1": pytorch("mobilenet_v3_small-047dcff4.pth")},
    summary="MobileNet v3 small, torchvision",
)
