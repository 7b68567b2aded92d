"""SqueezeNet 1.0 and 1.1: Iandola et al. 2016 (arXiv:1602.07360), as torchvision builds them; stages as in the paper."""

from tlkit.plugin import Backbone, pytorch

# Place of the first convolution and of each fire module in torchvision's `features`.
PLACES = {"1_0": (0, 3, 4, 5, 7, 8, 9, 10, 12), "1_1": (0, 3, 4, 6, 7, 9, 10, 11, 12)}
NAMES = ("conv1", *(f"fire{number}" for number in range(2, 10)))


def _squeezenet(version: str, file: str, minimum: int) -> Backbone:
    return Backbone(
        build=f"tlkit_squeezenet.build:squeezenet{version}",
        stages={name: (f"features.{place}",) for name, place in zip(NAMES, PLACES[version], strict=True)},
        features=512,
        classifier="classifier.1",
        maps=True,
        library=f"torchvision.models.squeezenet{version}",
        weights={"imagenet1k-v1": pytorch(file)},
        minimum_size=minimum,
        summary=f"SqueezeNet {version.replace('_', '.')}, torchvision",
    )


squeezenet1_0 = _squeezenet("1_0", "squeezenet1_0-b66bff10.pth", 21)
squeezenet1_1 = _squeezenet("1_1", "squeezenet1_1-b8a52dc0.pth", 17)
