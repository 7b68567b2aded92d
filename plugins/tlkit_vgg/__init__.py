"""VGG-11 to VGG-19, with and without BatchNorm: Simonyan & Zisserman 2014 (arXiv:1409.1556), as torchvision builds them."""

from dataclasses import replace

from tlkit.plugin import Backbone, Convention, Layout, Weights, pytorch

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
# VGG-Face, 2,622 people: Parkhi, Vedaldi & Zisserman 2015, "Deep Face Recognition". The names and the mean, RGB 0..255, are those of
# vgg_face_dag.pth and vgg_face_dag.py, which S. Albanie converted: robots.ox.ac.uk/~albanie/pytorch-models.html
_FACES = Convention(mean=(129.186279296875, 104.76238250732422, 93.59396362304688), std=(1.0, 1.0, 1.0), range=255.0)
vgg16 = replace(
    _vgg(16, "vgg16-397923af.pth"),
    rename="tlkit_vgg.build:from_vgg_face",
    layouts={"VGG-Face": Layout(marks=("conv1_1.weight", "conv5_3.weight", "fc6.weight", "fc7.weight"), input=_FACES)},
)
vgg19 = _vgg(19, "vgg19-dcbb9e9d.pth")
vgg11_bn = _vgg(11, "vgg11_bn-6002323d.pth", norm=True)
vgg13_bn = _vgg(13, "vgg13_bn-abd245e5.pth", norm=True)
vgg16_bn = _vgg(16, "vgg16_bn-6c64b313.pth", norm=True)
vgg19_bn = _vgg(19, "vgg19_bn-c79401a0.pth", norm=True)
