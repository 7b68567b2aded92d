"""torchvision's Inception v3 as stages, and its auxiliary classifier."""

from torch import nn
from torchvision.models import inception

from tlkit import network
from tlkit.network import Rescale
from tlkit.plugin import IMAGENET
from tlkit_inception import STAGES

_AFTER = {"Conv2d_2b_3x3": ("maxpool1",), "Conv2d_4a_3x3": ("maxpool2",)}


def inception_v3() -> dict[str, nn.Module]:
    """Build Inception v3 without its classifiers."""
    library = inception.inception_v3(weights=None, aux_logits=False, init_weights=True)
    names = {name: (name, *_AFTER.get(name, ())) for name in STAGES}
    names[STAGES[0]] = ("rescale", *names[STAGES[0]])
    return network.cut(library, names, rescale=Rescale(IMAGENET, mean=0.5, std=0.5))


def auxiliary(classes: int) -> nn.Module:
    """Build the classifier on Mixed_6e, (N, 768, 17, 17) -> (N, classes)."""
    made: nn.Module = inception.InceptionAux(768, classes)
    for name, std in (("conv0.conv", 0.1), ("conv1.conv", 0.01), ("fc", 0.001)):
        weight = made.get_submodule(name).get_parameter("weight")
        nn.init.trunc_normal_(weight, std=std, a=-2, b=2)  # as torchvision.models.inception.Inception3
    return made
