"""Heads that find objects give what torchvision's models give with the same tensors, and their losses and detections."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.fcos import fcos_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import _default_anchorgen, retinanet_resnet50_fpn
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tlkit import tasks
from tlkit.errors import PluginError
from tlkit.network import building, shapes
from tlkit.network.network import Network
from tlkit.plugin import Backbone, Head, registry
from tlkit.recipe import parsing

SIZE, CLASSES = (64, 96), 3
WANTED = [
    {"boxes": torch.tensor([[4.0, 6, 40, 50], [30, 20, 90, 60]]), "labels": torch.tensor([0, 2])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


def small(model: Callable[..., nn.Module], **options: object) -> nn.Module:
    """Return torchvision's model on a ResNet-18, as it builds it on a ResNet-50."""
    trunk = _resnet_fpn_extractor(resnet18(), 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    return model(trunk, CLASSES, score_thresh=0.05, detections_per_img=100, **options)


MODELS = {"fcos": lambda: small(FCOS), "retinanet": lambda: small(RetinaNet, anchor_generator=_default_anchorgen())}


def ours(kind: str, theirs: nn.Module) -> Network:
    """Return our network with the tensors of torchvision's."""
    head = registry.get(Head, kind)
    network = building.build(
        registry.get(Backbone, "resnet18"), head, classes=CLASSES, backbone_options=None,
        head_options=parsing.options(head.options, {}, place="head.options"), seed=0, image_size=SIZE,
    )  # fmt: skip
    body = {name.removeprefix("backbone.body."): each for name, each in theirs.state_dict().items() if ".body." in name}
    for stage in network.stages.values():
        stage.load_state_dict({name: body.pop(name) for name in stage.state_dict()})
    assert not body
    rest = {
        name.replace("backbone.fpn.", "pyramid.fpn.").replace("_head.", ".").removeprefix("head."): each
        for name, each in theirs.state_dict().items()
        if ".body." not in name
    }
    network.head.load_state_dict(rest)
    return network.eval()


def moved_(theirs: nn.Module) -> nn.Module:
    """Move the weights away from their start, where no place is sure of anything."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, each in theirs.named_parameters():
            if "head." in name and each.ndim > 1:
                each.normal_(0, 0.05)
            if name.endswith("cls_logits.bias"):
                each.fill_(-1.0)
    return theirs.eval()


def packed(wanted: list[dict[str, Tensor]]) -> Tensor:
    targets = torch.zeros(len(wanted), 4, 6)
    targets[:, 1:, 4] = -1
    targets[:, 0] = torch.tensor([0, 0, SIZE[1], SIZE[0], -2, 0])
    for row, each in zip(targets, wanted, strict=True):
        row[1 : 1 + len(each["labels"]), :4], row[1 : 1 + len(each["labels"]), 4] = each["boxes"], each["labels"].float()
    return targets


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_losses_and_detections_are_those_of_torchvision(kind: str) -> None:
    theirs = moved_(MODELS[kind]())
    network, task = ours(kind, theirs), tasks.get(registry.get(Head, kind).task)
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        maps = list(theirs.backbone(x).values())
        outputs = theirs.head(maps)
        anchors = theirs.anchor_generator(ImageList(x, [SIZE] * 2), maps)
        places = theirs.anchor_generator.num_anchors_per_location()
        counts = [each.shape[2] * each.shape[3] * here for each, here in zip(maps, places, strict=True)]
        logits = network(x)
        rows = {
            "cls_logits": logits[:, :CLASSES],
            "bbox_regression": logits[:, CLASSES : CLASSES + 4],
            "bbox_ctrness": logits[:, -1:],
        }
        for name, each in outputs.items():
            torch.testing.assert_close(rows[name].transpose(1, 2), each)
        assert torch.equal(logits[0, CLASSES + 4 : CLASSES + 8].T, anchors[0])
        assert logits.shape[2] == sum(counts)

        more = {} if kind == "retinanet" else {"num_anchors_per_level": counts}
        expected = [
            sum(
                theirs.compute_loss(
                    [dict(each)], {name: one[at : at + 1] for name, one in outputs.items()}, anchors[:1], **more
                ).values()
            )
            for at, each in enumerate(WANTED)
        ]
        torch.testing.assert_close(task.losses(logits, packed(WANTED)), torch.stack(expected))
        torch.testing.assert_close(task.loss(logits, packed(WANTED), 0.0, None), torch.stack(expected).mean())

        split = {name: list(each.split(counts, 1)) for name, each in outputs.items()}
        right = theirs.postprocess_detections(split, [list(each.split(counts)) for each in anchors], [SIZE] * 2)
        assert task.detections is not None
        found = task.detections(logits, [SIZE] * 2)
    for one, other in zip(found, right, strict=True):
        assert len(one["scores"]) > 5
        for name in other:
            torch.testing.assert_close(one[name], other[name])


@pytest.mark.parametrize(("kind", "build"), [("fcos", fcos_resnet50_fpn), ("retinanet", retinanet_resnet50_fpn)])
def test_the_head_has_the_tensors_of_torchvisions_on_resnet50(kind: str, build: Callable[..., nn.Module]) -> None:
    head = registry.get(Head, kind)
    with torch.device("meta"):
        theirs = build(weights=None, weights_backbone=None, num_classes=CLASSES).state_dict()
        network = building.build(
            registry.get(Backbone, "resnet50"), head, classes=CLASSES, backbone_options=None,
            head_options=parsing.options(head.options, {}, place="head.options"), seed=0,
        )  # fmt: skip
    expected = {name: each.shape for name, each in theirs.items() if ".body." not in name}
    named = {
        (
            "backbone." + name.removeprefix("pyramid.")
            if name.startswith("pyramid.")
            else "head." + name.replace(".", "_head.", 1)
        ): each.shape
        for name, each in network.head.state_dict().items()
    }
    assert named == expected


def test_anchors_in_half_precision_are_exact() -> None:
    network = ours("fcos", MODELS["fcos"]())
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        plain = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert half.dtype == torch.float32
    assert torch.equal(half[:, CLASSES + 4 : CLASSES + 9], plain[:, CLASSES + 4 : CLASSES + 9])
    assert torch.equal(network(x), plain), "the anchors keep their precision afterwards"


@pytest.mark.parametrize(("kind", "named"), [("fcos", "data.crop_size or data.scale_to"), ("linear", "data.image_size")])
def test_pictures_that_do_not_pass_are_told_by_the_key_that_changes_their_size(kind: str, named: str) -> None:
    stages, backbone = {"even": nn.Linear(7, 7)}, registry.get(Backbone, "resnet18")
    with pytest.raises(PluginError) as caught:
        shapes.read(stages, backbone, registry.get(Head, kind), (300, 300), channels=3)
    assert named in str(caught.value)
    assert ("data.image_size" in str(caught.value)) == (kind == "linear")


class OfSize(nn.Module):
    """A stage that takes images of one size."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (64, 64):
            raise ValueError("Expected more than 1 value per channel when training")
        return nn.functional.avg_pool2d(x, 16)


def test_what_does_not_pass_is_told_of_the_size_that_was_asked_for() -> None:
    backbone, fcos = registry.get(Backbone, "resnet18"), registry.get(Head, "fcos")
    assert shapes.read({"of_size": OfSize()}, backbone, fcos, (64, 64), channels=3)[0].stride == 16
    with pytest.raises(
        PluginError, match=r"^data: images of 32 px are too small for stage of_size .*one value of each"
    ) as caught:
        shapes.read({"of_size": OfSize()}, backbone, fcos, (32, 32), channels=3)
    assert caught.value.hints == ("a larger data.crop_size",)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.InstanceNorm2d(3))  # what torch says of it is of spatial elements
    with pytest.raises(PluginError, match=r"^data\.image_size: images of 64 px are too small"):
        shapes.of_stages({"pooled": pooled}, backbone, (64, 64), channels=3)
