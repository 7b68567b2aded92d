"""VGG-11 to VGG-19, with and without BatchNorm: Simonyan & Zisserman 2014 (arXiv:1409.1556), as torchvision builds them."""

from tlkit.plugin import Backbone, Weights, pytorch

# Convolutions of each of the five blocks, by the number of layers: table 1 of the paper, columns A, B, D and E.
BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def blocks(layers: int, *, norm: bool) -> dict[str, range]:
    """Return the places of each block's modules in torchvision's `features`: convolutions, BatchNorm, ReLU, pooling."""
    found, start = {}, 0
    for number, convolutions in enumerate(BLOCKS[layers], start=1):
        stop = start + convolutions * (3 if norm else 2) + 1
        found[f"conv{number}"] = range(start, stop)
        start = stop
    return found


def _vgg(layers: int, file: str, *, norm: bool = False) -> Backbone:
    name = f"vgg{layers}_bn" if norm else f"vgg{layers}"
    # Of every two or three modules, and of the pooling at the end, the ReLU and the pooling own nothing.
    owned = {
        stage: tuple(
            f"features.{place}" for at, place in enumerate(places[:-1]) if at % (3 if norm else 2) < (2 if norm else 1)
        )
        for stage, places in blocks(layers, norm=norm).items()
    }
    weights: dict[str, Weights] = {"imagenet1k-v1": pytorch(file)}
    return Backbone(
        build=f"tlkit_vgg.build:{name}",
        stages={**owned, "fc6": ("classifier.0",), "fc7": ("classifier.3",)},
        features=4096,
        classifier="classifier.6",
        library=f"torchvision.models.{name}",
        weights=weights,
        summary=f"VGG-{layers}{' with BatchNorm' if norm else ''}, torchvision",
    )


vgg11 = _vgg(11, "vgg11-8a719046.pth")
vgg13 = _vgg(13, "vgg13-19584684.pth")
vgg16 = _vgg(16, "vgg16-397923af.pth")
vgg19 = _vgg(19, "vgg19-dcbb9e9d.pth")
vgg11_bn = _vgg(11, "vgg11_bn-6002323d.pth", norm=True)
vgg13_bn = _vgg(13, "vgg13_bn-abd245e5.pth", norm=True)
vgg16_bn = _vgg(16, "vgg16_bn-6c64b313.pth", norm=True)
vgg19_bn = _vgg(19, "vgg19_bn-c79401a0.pth", norm=True)
