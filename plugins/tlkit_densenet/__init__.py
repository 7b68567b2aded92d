"""DenseNet-121, -161, -169 and -201: Huang et al. 2017 (arXiv:1608.06993), as torchvision builds them."""

from tlkit.plugin import Backbone, pytorch

STAGES = {
    "stem": ("features.conv0", "features.norm0"),
    **{name: (f"features.{name}",) for block in (1, 2, 3) for name in (f"denseblock{block}", f"transition{block}")},
    "denseblock4": ("features.denseblock4", "features.norm5"),
}
_RENAME = "tlkit_densenet.build:without_dots"


def _densenet(depth: int, features: int, file: str) -> Backbone:
    return Backbone(
        build=f"tlkit_densenet.build:densenet{depth}",
        stages=STAGES,
        features=features,
        classifier="classifier",
        library=f"torchvision.models.densenet{depth}",
        weights={"imagenet1k-v1": pytorch(file, rename=_RENAME)},
        minimum_size=29,
        summary=f"DenseNet-{depth}, torchvision",
        rename=_RENAME,
    )


densenet121 = _densenet(121, 1024, "densenet121-a639ec97.pth")
densenet161 = _densenet(161, 2208, "densenet161-8d451a50.pth")
densenet169 = _densenet(169, 1664, "densenet169-b2777c0a.pth")
densenet201 = _densenet(201, 1920, "densenet201-c1103571.pth")
