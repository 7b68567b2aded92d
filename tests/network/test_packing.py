"""A head that reads several stages: what it is given, whole and cut, and what is refused."""

from dataclasses import replace

import pytest
import torch
from tlkit_toy import toy, toy_maps
from torch import Tensor, nn

import tlkit_heads
from tlkit.engine import row_keys
from tlkit.engine.prefix import prefix
from tlkit.errors import PluginError, TlkitError
from tlkit.network import building
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network
from tlkit.plugin import Backbone, Head, registry
from tlkit.record.formats import COMPUTE_FORMATS, ComputeFormat, PrefixPlan
from tlkit_heads import LinearOptions

BACKBONES = {"toy": toy, "resnet18": registry.get(Backbone, "resnet18")}
READ = {"toy": (0, 2), "resnet18": (1, 2, 3, 4)}  # the last stage of every stride: toy 1 and 2, resnet18 4 to 32
SIZE = (40, 56)


def network_of(backbone: Backbone, head: Head = toy_maps) -> Network:
    """A network whose BatchNorms have seen something, in eval mode."""
    options = LinearOptions() if head is not toy_maps else None
    made = building.build(backbone, head, classes=3, backbone_options=None, head_options=options, seed=0)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module", params=list(BACKBONES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@torch.no_grad()
def test_the_head_is_given_the_last_map_of_every_stride(name: str) -> None:
    network = network_of(BACKBONES[name])
    x, maps = torch.rand(2, 3, *SIZE), []
    for stage in network.stages.values():
        maps.append(stage(maps[-1] if maps else x))
    assert network.packing.reads == READ[name]
    assert torch.equal(network(x), network.head(tuple(maps[index] for index in READ[name]), SIZE))


@torch.no_grad()
def test_cut_after_any_stages_the_network_gives_the_same_bits(name: str) -> None:
    network = network_of(BACKBONES[name])
    x, depth = torch.rand(2, 3, *SIZE), len(network.stages)
    whole = network(x)
    for cut in range(1, depth + 1):
        packed = network.run(x, stop=cut)
        assert packed.shape[-2:] == SIZE
        assert torch.equal(network.forward_with_aux(packed, aux_heads=(), start=cut)[0], whole)
        for second in range(cut, depth + 1):
            assert torch.equal(network.finish(network.run(network.run(packed, start=cut, stop=second), start=second)), whole)


@pytest.mark.parametrize("compute_format", COMPUTE_FORMATS, ids=str)
@torch.no_grad()
def test_a_fixed_prefix_gives_the_same_bits_whole_and_in_parts(name: str, compute_format: ComputeFormat) -> None:
    network = network_of(BACKBONES[name])
    x, depth = torch.rand(3, 3, *SIZE), len(network.stages)
    plan = PrefixPlan(compute_format=compute_format, chunk=4)
    run = prefix.build(network, depth, plan, sample=x[:1])
    whole = run(x)
    for cut in range(1, depth):
        assert torch.equal(run(run(x, stop=cut), start=cut), whole)
    if compute_format.precision == "float32":
        network.lay_out_(torch.channels_last if compute_format.layout == "channels_last" else torch.contiguous_format)
        torch.testing.assert_close(network.finish(whole), network(x), rtol=1e-4, atol=1e-5)


def test_gradients_of_a_suffix_are_those_of_the_whole_network() -> None:
    network, x = network_of(toy), torch.rand(2, 3, *SIZE)
    for parameter in network.stages["stem"].parameters():
        parameter.requires_grad_(False)

    def gradients(logits: Tensor) -> list[Tensor]:
        trained = [each for each in network.parameters() if each.requires_grad]
        return list(torch.autograd.grad(logits.square().sum(), trained))

    with torch.no_grad():
        packed = network.run(x, stop=1)
    cut = gradients(network.forward_with_aux(packed, aux_heads=(), start=1)[0])
    assert all(torch.equal(one, other) for one, other in zip(cut, gradients(network(x)), strict=True))


def test_the_sides_of_the_images_say_the_shape_of_every_map() -> None:
    """Two sizes whose maps have as many values are told apart."""
    network = network_of(toy)
    with torch.no_grad():
        for size in ((40, 56), (56, 40)):
            x = torch.rand(2, 3, *size)
            assert torch.equal(network.forward_with_aux(network.run(x, stop=2), aux_heads=(), start=2)[0], network(x))


def test_what_is_stored_has_another_key_than_for_a_head_of_the_last_stage() -> None:
    def stages(head: Head, count: int) -> object:
        network = network_of(toy, head)
        return row_keys.prefix(network, count, PrefixPlan(), backbone="toy", build="", options={}, device=torch.device("cpu"))[
            "stages"
        ]

    linear = registry.get(Head, "linear")
    assert [stages(linear, count) for count in (1, 2, 3)] == ["stem", "stem, block1", "stem, block1, block2, pooled"]
    assert [stages(toy_maps, count) for count in (1, 2, 3)] == [
        "stem, packed with []", "stem, block1, packed with ['stem']", "stem, block1, block2, packed with ['stem']",
    ]  # fmt: skip


def comparing(backbone: Backbone, *stages: int) -> Network:
    """A network of which a method of domain adaptation compares the means of some stages."""
    made = building.build(
        backbone, registry.get(Head, "linear"), classes=3, backbone_options=None, head_options=LinearOptions(), seed=0,
        compared=stages,
    )  # fmt: skip
    return made.eval()


@torch.no_grad()
def test_means_of_compared_stages_come_through_every_cut(name: str) -> None:
    network = comparing(BACKBONES[name], 0, len(BACKBONES[name].stages) - 1)
    x, names = torch.rand(2, 3, *SIZE), list(network.stages)
    outputs = []
    for stage in network.stages.values():
        outputs.append(stage(outputs[-1] if outputs else x))
    whole = network(x)
    for cut in range(len(names) + 1):
        carried = network.carry(network.run(x, stop=cut), start=cut)
        assert torch.equal(network.answer_of(carried), whole)
        found = network.compared(carried)
        assert list(found) == [names[0], names[-1]]
        torch.testing.assert_close(found[names[0]], outputs[0].mean((2, 3)))
        torch.testing.assert_close(found[names[-1]], outputs[-1].mean((2, 3)))
        first = network.compared(network.carry(x))[names[0]]
        assert torch.equal(found[names[0]], first)


@torch.no_grad()
def test_where_no_earlier_stage_is_compared_a_cut_is_that_of_any_network() -> None:
    """So its stored rows have the same key, and other arms read them."""
    plain, network, x = comparing(toy), comparing(toy, 2), torch.rand(2, 3, 16, 16)
    assert all(torch.equal(network.run(x, stop=cut), plain.run(x, stop=cut)) for cut in (1, 2, 3))
    assert network.pools_after(3)
    assert not comparing(toy, 0).pools_after(3)
    keys = [
        [
            row_keys.prefix(made, cut, PrefixPlan(), backbone="toy", build="", options={}, device=torch.device("cpu"))["stages"]
            for cut in (1, 2, 3)
        ]
        for made in (plain, network, comparing(toy, 0, 1))
    ]
    assert keys[0] == keys[1]
    assert keys[2] == ["stem", "stem, block1, packed with the means of ['stem']",
                       "stem, block1, block2, packed with the means of ['stem', 'block1']"]  # fmt: skip


@torch.no_grad()
def test_a_transformers_stage_is_compared_by_the_mean_over_its_tokens() -> None:
    network = comparing(registry.get(Backbone, "timm:vit_tiny_patch16_224").until("block1"), 1)
    x = torch.rand(2, 3, 64, 96)
    for cut in (0, 2, 3):
        (found,) = network.compared(network.carry(network.run(x, stop=cut), start=cut)).values()
        tokens = network.carry(x, stop=2).last
        torch.testing.assert_close(found, tokens.flatten(2).mean(2) if tokens.ndim == 4 else tokens.mean(1))


def test_a_backbone_that_ends_without_a_map_is_refused_with_the_stage_that_has_one() -> None:
    vgg = registry.get(Backbone, "vgg11")
    with pytest.raises(TlkitError) as caught, torch.device("meta"):
        network_of_meta(vgg)
    assert "fc7, the last stage of torchvision.models.vgg11, gives 4096 values and no map" in caught.value.problem
    assert 'head.embed = "conv5"' in caught.value.hints[0]
    with torch.device("meta"):
        assert network_of_meta(vgg.until("conv5")).packing.reads == (0, 1, 2, 3, 4)


def network_of_meta(backbone: Backbone) -> Network:
    return building.build(backbone, toy_maps, classes=3, backbone_options=None, head_options=None, seed=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reads": "all"}, "reads is 'all'"),
        ({"reads": "strides", "linear": True}, "is linear"),
        ({"pixels": True, "build": "", "solve": "a:b"}, "is solved"),
    ],
)
def test_a_head_that_cannot_read_several_stages_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(PluginError) as caught:
        replace(Head(build="a:b"), **wrong)
    assert said in caught.value.problem


@pytest.mark.parametrize("head", [tlkit_heads.fcn, tlkit_heads.fpn, tlkit_heads.deeplab], ids=["fcn", "fpn", "deeplab"])
@torch.no_grad()
def test_a_head_of_maps_is_given_the_picture_in_a_transformers_tokens(head: Head) -> None:
    backbone = registry.get(Backbone, "timm:vit_tiny_patch16_224").until("block1")
    network = building.build(
        backbone, head, classes=3, backbone_options=None, head_options=head.options(), seed=0
    ).eval()  # fmt: skip
    x = torch.rand(2, 3, 64, 96)
    outputs = network.carry(x).last  # (2, 192, 1 + 24, 1)
    (picture,) = network.packing.read(network.carry(x), list(network.stages.values()))
    assert torch.equal(picture[:, :, 1, 2], outputs[:, :, 1 + 6 + 2, 0]), "a token of the class, then row by row"
    whole = network(x)
    assert whole.shape == (2, 3, 64, 96)
    for cut in (1, 2, 3):
        assert torch.equal(network.forward_with_aux(network.run(x, stop=cut), aux_heads=(), start=cut)[0], whole)


def test_a_frozen_encoder_keeps_its_batchnorm_statistics_and_the_decoder_learns_them() -> None:
    network = building.build(
        toy, tlkit_heads.unet, classes=3, backbone_options=None, head_options=tlkit_heads.UnetOptions(), seed=0
    )
    freeze_(network, lambda name: name.startswith(("head.", "block2")))
    before = {name: tensor.clone() for name, tensor in network.tensors().items()}
    network(torch.rand(4, 3, 16, 16)).square().mean().backward()
    changed = {name for name, tensor in network.tensors().items() if not torch.equal(tensor, before[name])}
    graded = {parameter.name for parameter, tensor in network.owned() if tensor.grad is not None}
    assert {name.split(".")[0] for name in changed} == {"block2", "head"}
    assert {name.split(".")[0] for name in graded} == {"block2", "head"}
