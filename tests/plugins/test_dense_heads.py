"""Heads that answer for every pixel: against segmentation_models_pytorch, and on every family of backbones."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

import tlkit_heads
from tlkit import plugin
from tlkit.errors import TlkitError
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.plugin import Backbone, FeatureMap, Head, registry

CLASSES = 3


def network_of(backbone: Backbone, head: Head, **options: object) -> Network:
    made = head.options.model_validate(options)
    return building.build(backbone, head, classes=CLASSES, backbone_options=None, head_options=made, seed=0)


def randomised(theirs: nn.Module) -> nn.Module:
    """Every tensor random, BatchNorm's statistics too."""
    for name, tensor in theirs.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if name.endswith("running_var") else tensor.add_(torch.randn_like(tensor) * 0.02)
    return theirs.eval()


def fill_(mine: Network, theirs: nn.Module) -> None:
    """Copy the encoder by name, the decoder in order."""
    encoder = {name.removeprefix("model."): tensor for name, tensor in theirs.encoder.state_dict().items()}
    for stage in mine.stages.values():
        for name, tensor in stage.state_dict().items():
            tensor.copy_(
                encoder[name if name in encoder else name.replace("blocks.", "blocks_", 1)]
            )  # as timm calls them there
    others = [*theirs.decoder.state_dict().values(), *theirs.segmentation_head.state_dict().values()]
    for own, other in zip(mine.head.state_dict().values(), others, strict=True):
        own.copy_(other)


@pytest.mark.parametrize(
    ("backbone", "head", "theirs", "library"),
    [
        (registry.get(Backbone, "mobilenet_v2"), tlkit_heads.unet, "mobilenet_v2", smp.Unet),
        (registry.get(Backbone, "efficientnet_lite0").until("blocks6"), tlkit_heads.unet, "tu-tf_efficientnet_lite0", smp.Unet),
        (registry.get(Backbone, "resnet18"), tlkit_heads.fpn, "resnet18", smp.FPN),
    ],
    ids=["unet on mobilenet_v2", "unet on efficientnet_lite0", "fpn on resnet18"],
)
@torch.no_grad()
def test_the_outputs_are_those_of_segmentation_models_pytorch(
    backbone: Backbone, head: Head, theirs: str, library: type[nn.Module]
) -> None:
    torch.manual_seed(4)
    other = randomised(library(theirs, encoder_weights=None, classes=CLASSES))
    mine = network_of(backbone, head).eval()
    fill_(mine, other)
    x = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(mine(x), other(x), rtol=1e-4, atol=1e-5)


FAMILIES = (
    "alexnet", "cifar_resnet20", "densenet121", "efficientnet_lite0", "inception_v3", "mobilenet_v3_small", "resnet18", "squeezenet1_1",
    "vgg11_bn", "timm:convnext_atto", "timm:swin_tiny_patch4_window7_224",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_every_head_works_on_every_family_that_keeps_a_picture(name: str) -> None:
    backbone = registry.get(Backbone, name)
    size = (backbone.image_size,) * 2 if "swin" in name else (max(backbone.minimum_size, 97), 131)
    with torch.device("meta"):
        try:
            network_of(backbone, tlkit_heads.fcn)
        except TlkitError as error:  # its last stages keep none: the message says where to stop
            backbone = backbone.until(error.hints[0].split('"')[1])
        for head in (tlkit_heads.fcn, tlkit_heads.unet, tlkit_heads.fpn, tlkit_heads.deeplab):
            assert network_of(backbone, head)(torch.empty(2, 3, *size)).shape == (2, CLASSES, *size)


def built(head: Head, features: tuple[FeatureMap, ...], **options: object) -> nn.Module:
    made = plugin.call(head.build, features, CLASSES, head.options.model_validate(options))
    assert isinstance(made, nn.Module)
    return made


def maps_of(features: tuple[FeatureMap, ...], size: tuple[int, int]) -> list[Tensor]:
    return [torch.randn(2, each.channels, size[0] // each.stride, size[1] // each.stride) for each in features]


@pytest.mark.parametrize("head", [tlkit_heads.fcn, tlkit_heads.fpn, tlkit_heads.deeplab], ids=["fcn", "fpn", "deeplab"])
def test_a_single_map_is_enough(head: Head) -> None:
    features = (FeatureMap(6, 14),)
    assert built(head, features)(maps_of(features, (56, 84)), (56, 84)).shape == (2, CLASSES, 56, 84)


def test_widths_of_unet_are_channels_from_the_deepest_block_on() -> None:
    features = (FeatureMap(4, 2), FeatureMap(6, 8))
    head = built(tlkit_heads.unet, features, widths=[10, 7, 5])
    shapes = [tuple(block.conv1[0].weight.shape[:2]) for block in head.blocks]
    assert shapes == [(10, 6), (7, 10 + 4), (5, 7)]
    assert head(maps_of(features, (32, 48)), (32, 48)).shape == (2, CLASSES, 32, 48)


@pytest.mark.parametrize(
    ("strides", "widths", "said"),
    [((16,), None, "joins maps of several strides"), ((7, 14), None, "strides are [7, 14]"), ((2, 8), [4, 4], "3 doublings")],
)
def test_unet_says_what_it_cannot_be_built_for(strides: tuple[int, ...], widths: list[int] | None, said: str) -> None:
    with pytest.raises(TlkitError) as caught:
        built(tlkit_heads.unet, tuple(FeatureMap(4, stride) for stride in strides), widths=widths)
    assert said in str(caught.value)


def test_unet_joins_maps_whose_columns_do_not_divide_the_picture() -> None:
    features = (FeatureMap(4, 4), FeatureMap(5, 8), FeatureMap(6, 16), FeatureMap(7, 30))  # 300 pixels are 10 columns: 30 each
    head = built(tlkit_heads.unet, features, widths=[3] * 5)
    maps = [torch.randn(2, each.channels, side, side) for each, side in zip(features, (8, 4, 2, 1), strict=True)]
    assert [block.conv1[0].weight.shape[1] for block in head.blocks] == [7 + 6, 3 + 5, 3 + 4, 3, 3]
    assert head(maps, (30, 30)).shape == (2, CLASSES, 30, 30)
