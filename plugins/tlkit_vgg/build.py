"""torchvision's VGGs as stages."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn
from torchvision.models import vgg

from tlkit import network
from tlkit_vgg import blocks


def _stages(library: Callable[..., vgg.VGG], layers: int, *, norm: bool = False) -> dict[str, nn.Module]:
    stages = {stage: tuple(f"features.{place}" for place in places) for stage, places in blocks(layers, norm=norm).items()}
    stages["fc6"] = ("avgpool", "flatten", "classifier.0", "classifier.1", "classifier.2")
    stages["fc7"] = ("classifier.3", "classifier.4", "classifier.5")
    return network.cut(library(weights=None), stages, flatten=nn.Flatten())


def from_vgg_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the names of VGG-Face, "conv1_1" to "fc8", to those of torchvision's VGG-16."""
    names = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    for number, places in enumerate(blocks(16, norm=False).values(), start=1):
        # each convolution is followed by its ReLU, and the last place is the pooling
        names |= {f"conv{number}_{at}": f"features.{place}" for at, place in enumerate(places[:-1:2], start=1)}
    return {
        ".".join([names.get(module, module), last]): tensor
        for name, tensor in tensors.items()
        for module, _, last in [name.rpartition(".")]
    }


# Each builds its network up to its last hidden layer, 4096 values.
vgg11 = partial(_stages, vgg.vgg11, 11)
vgg13 = partial(_stages, vgg.vgg13, 13)
vgg16 = partial(_stages, vgg.vgg16, 16)
vgg19 = partial(_stages, vgg.vgg19, 19)
vgg11_bn = partial(_stages, vgg.vgg11_bn, 11, norm=True)
vgg13_bn = partial(_stages, vgg.vgg13_bn, 13, norm=True)
vgg16_bn = partial(_stages, vgg.vgg16_bn, 16, norm=True)
vgg19_bn = partial(_stages, vgg.vgg19_bn, 19, norm=True)
