"""A network of stages is the library's own network: the same answers, the same names, cut anywhere."""

import pytest
import torch
import torchvision
from tlkit_toy import toy
from tlkit_toy_build import ToyNet
from torch import Tensor, nn

from tlkit.errors import PluginError
from tlkit.network import building, weights
from tlkit.network.network import Network, pool
from tlkit.network.stages import Stage
from tlkit.plugin import Backbone, Head, registry
from tlkit_heads import LinearOptions, MlpOptions


def network_of(backbone: Backbone, *, classes: int = 7, seed: int = 0, dropout: float = 0.0) -> Network:
    head = registry.get(Head, "linear")
    return building.build(
        backbone, head, classes=classes, backbone_options=None, head_options=LinearOptions(dropout=dropout), seed=seed
    )


def lived_in(net: nn.Module) -> nn.Module:
    """A network whose BatchNorms have seen something."""
    generator = torch.Generator().manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.running_mean, -0.2),
                (module.running_var, 0.6),
                (module.weight, 0.5),
                (module.bias, -0.2),
            ):
                tensor.data.uniform_(low, low + 0.8, generator=generator)
            module.num_batches_tracked.fill_(17)
    return net.eval()


def fill_(network: Network, state: dict[str, Tensor], backbone: Backbone) -> None:
    """Copy the library's tensors by name, classifier too."""
    mine = network.tensors()
    theirs = {name.replace(f"{backbone.classifier}.", "head."): tensor for name, tensor in state.items()}
    assert list(mine) == list(theirs)
    for name, tensor in theirs.items():
        mine[name].copy_(tensor)


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def pair(request: pytest.FixtureRequest) -> tuple[Backbone, Network, nn.Module]:
    """A plugin's network and torchvision's own with the same tensors."""
    torch.manual_seed(1)
    theirs = lived_in(getattr(torchvision.models, request.param)(weights=None, num_classes=7))
    backbone = registry.get(Backbone, request.param)
    mine = network_of(backbone, seed=5).eval()
    fill_(mine, theirs.state_dict(), backbone)
    return backbone, mine, theirs


@pytest.mark.parametrize("size", [32, 45])
@torch.no_grad()
def test_a_resnet_answers_as_torchvisions_does(pair: tuple[Backbone, Network, nn.Module], size: int) -> None:
    _, mine, theirs = pair
    x = torch.rand(2, 3, size, size)
    assert torch.equal(mine(x), theirs(x))


@torch.no_grad()
def test_embeddings_are_what_torchvision_hands_its_classifier(pair: tuple[Backbone, Network, nn.Module]) -> None:
    backbone, mine, theirs = pair
    x, classifier = torch.rand(2, 3, 64, 64), theirs.fc
    theirs.fc = nn.Identity()
    try:
        expected = theirs(x)
    finally:
        theirs.fc = classifier
    assert expected.shape == (2, backbone.features)
    assert torch.equal(mine.embed(x), expected)


@torch.no_grad()
def test_an_exported_resnet_loads_into_torchvision_strictly_and_answers_the_same(
    pair: tuple[Backbone, Network, nn.Module],
) -> None:
    backbone, mine, theirs = pair
    fresh = type(theirs)(
        torchvision.models.resnet.BasicBlock if backbone.features == 512 else torchvision.models.resnet.Bottleneck,
        [2, 2, 2, 2] if backbone.features == 512 else [3, 4, 6, 3],
        num_classes=7,
    )
    fresh.load_state_dict(weights.export(mine, backbone, linear=True), strict=True)
    x = torch.rand(2, 3, 33, 33)
    assert torch.equal(fresh.eval()(x), mine(x))


@torch.no_grad()
def test_a_resnet_cut_after_any_stage_answers_as_uncut(pair: tuple[Backbone, Network, nn.Module]) -> None:
    backbone, mine, _ = pair
    x = torch.rand(2, 3, 33, 33)
    whole = mine(x)
    for cut in range(len(backbone.stages) + 1):
        assert torch.equal(mine.finish(mine.run(mine.run(x, stop=cut), start=cut)), whole)


@torch.no_grad()
def test_in_training_mode_a_stage_network_moves_batchnorm_as_the_librarys_does() -> None:
    theirs, mine = lived_in(ToyNet(classes=7)), network_of(toy)
    fill_(mine, theirs.state_dict(), toy)
    x = torch.rand(6, 3, 16, 16)
    torch.manual_seed(4)
    expected = theirs.train()(x)
    torch.manual_seed(4)
    assert torch.equal(mine.train()(x), expected)
    exported = weights.export(mine, toy, linear=True)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(exported[name], tensor), name


# torchvision.models.ResNet*_Weights.IMAGENET1K_V1.meta["num_params"]
@pytest.mark.parametrize(
    ("depth", "parameters"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)]
)
def test_parameters_are_as_many_as_torchvisions_with_its_names_and_order(depth: int, parameters: int) -> None:
    backbone = registry.get(Backbone, f"resnet{depth}")
    with torch.device("meta"):
        network = network_of(backbone, classes=1000)
        theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    owned = list(network.owned())
    assert sum(tensor.numel() for _, tensor in owned) == parameters
    assert [parameter.name.replace("head.", "fc.") for parameter, _ in owned] == [name for name, _ in theirs.named_parameters()]
    assert all(tensor.is_meta for _, tensor in owned)


def test_heads_of_one_seed_begin_alike_whatever_the_backbone() -> None:
    (w18, b18), (w34, b34) = (
        list(network_of(registry.get(Backbone, name), seed=3).head.parameters()) for name in ("resnet18", "resnet34")
    )
    assert torch.equal(w18, w34)
    assert torch.equal(b18, b34)


def test_seeds_begin_differently() -> None:
    first, again, other = (network_of(toy, seed=seed).tensors() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_building_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    network_of(toy)
    assert torch.equal(torch.rand(3), expected)


@torch.no_grad()
def test_the_linear_head_is_one_linear_layer_after_dropout() -> None:
    head = network_of(toy, dropout=0.4).head
    x = torch.rand(5, 16)
    assert torch.equal(head.eval()(x), nn.functional.linear(x, head.weight, head.bias))
    head.train()
    torch.manual_seed(2)
    dropped = nn.functional.dropout(x, 0.4)
    torch.manual_seed(2)
    assert torch.equal(head(x), nn.functional.linear(dropped, head.weight, head.bias))
    assert set(head.state_dict()) == {"weight", "bias"}


@torch.no_grad()
def test_the_mlp_head_is_layers_with_relu_and_dropout_between() -> None:
    options = MlpOptions(widths=[12, 6], dropout=0.3)
    head = building.build(
        toy, registry.get(Head, "mlp"), classes=4, backbone_options=None, head_options=options, seed=0
    ).head  # fmt: skip
    linears = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linears] == [(12, 16), (6, 12), (4, 6)]
    x = torch.rand(5, 16)
    expected = x
    for index, layer in enumerate(linears):
        expected = layer(expected) if index == 2 else torch.relu(layer(expected))
    assert torch.equal(head.eval()(x), expected)
    torch.manual_seed(6)
    expected = x
    for index, layer in enumerate(linears):
        expected = layer(expected) if index == 2 else nn.functional.dropout(torch.relu(layer(expected)), 0.3)
    torch.manual_seed(6)
    assert torch.equal(head.train()(x), expected)


def test_a_stage_registers_modules_below_their_dotted_names_and_runs_them_in_order() -> None:
    first, second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)
    stage = Stage({"features.3.a": first, "features.0": second})
    assert [name for name, _ in stage.named_parameters()] == [
        "features.3.a.weight", "features.3.a.bias", "features.0.weight", "features.0.bias",
    ]  # fmt: skip
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(stage(x), second(first(x)))


def test_pooled_features_pass_and_maps_are_averaged() -> None:
    maps = torch.rand(2, 5, 3, 4)
    torch.testing.assert_close(pool(maps), maps.mean((2, 3)))
    assert pool(maps[:, :, 0, 0]).data_ptr() == maps.data_ptr()


def no_import() -> None: ...


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ("tlkit_no_such_module:build", ["tlkit_no_such_module:build", "cannot be loaded", "ModuleNotFoundError"]),
        ("test_network:no_such_function", ["cannot be loaded", "no_such_function"]),
        ("test_network:no_import", ["builds the stages None", "['stem', 'block1', 'block2']"]),
        ("test_network:fails", ["test_network:fails", "failed", "ValueError: out of luck"]),
        ("test_network:strings", ["gave str, not a torch.nn.Module"]),
        ("test_network:reordered", ["builds the stages ['block1', 'stem', 'block2']"]),
        ("test_network:doubled", ["two stages hold conv1.weight"]),
        ("test_network:undeclared", ["stage block1 holds extra.weight, which it does not declare", "it declares block1"]),
    ],
)
def test_a_backbone_that_does_not_build_what_it_declares_is_named(build: str, words: list[str]) -> None:
    stages = {**toy.stages, "block2": ("block2", "conv1")}
    broken = Backbone(build=build, stages=stages, features=16, classifier="fc")
    with pytest.raises(PluginError) as caught:
        network_of(broken)
    for word in words:
        assert word in str(caught.value)


def fails() -> dict[str, nn.Module]:
    raise ValueError("out of luck")


def strings() -> dict[str, object]:
    return {"stem": "conv1", "block1": "block1", "block2": "block2"}


def reordered() -> dict[str, nn.Module]:
    stages = {name: Stage({name: nn.Conv2d(3, 3, 1)}) for name in ("block1", "block2")}
    return {"block1": stages["block1"], "stem": Stage({"conv1": nn.Conv2d(3, 3, 1)}), "block2": stages["block2"]}


def undeclared() -> dict[str, nn.Module]:
    block = Stage({"block1": nn.Conv2d(3, 3, 1), "extra": nn.Conv2d(3, 3, 1)})
    return {"stem": Stage({"conv1": nn.Conv2d(3, 3, 1)}), "block1": block, "block2": Stage({"block2": nn.Conv2d(3, 16, 1)})}


def doubled() -> dict[str, nn.Module]:
    again = Stage({"block2": nn.Conv2d(3, 16, 1), "conv1": nn.Conv2d(16, 16, 1)})
    return {"stem": Stage({"conv1": nn.Conv2d(3, 3, 1)}), "block1": Stage({"block1": nn.Conv2d(3, 3, 1)}), "block2": again}


def norm_called_head() -> dict[str, nn.Module]:
    return {"stem": Stage({"conv1": nn.Conv2d(3, 16, 1)}), "norm": Stage({"head.norm": nn.BatchNorm2d(16)})}


class NormHead(nn.Module):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.fc = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.norm(x))
        return logits


def norm_head(features: int, classes: int, options: None) -> nn.Module:
    return NormHead(features, classes)


def test_a_head_whose_tensors_would_be_lost_among_a_stages_is_refused() -> None:
    """timm's ConvNeXt calls its last norm "head.norm": a head with a `norm` had 130 parameters, and its file 128 names."""
    stages = {"stem": ("conv1",), "norm": ("head.norm",)}
    backbone = Backbone(build="test_network:norm_called_head", stages=stages, features=16, classifier="head.fc")
    head = Head(build="test_network:norm_head")
    with pytest.raises(PluginError) as caught:
        building.build(backbone, head, classes=3, backbone_options=None, head_options=None, seed=0)
    text = str(caught.value)
    assert "test_network:norm_head" in text
    assert "the head's norm.weight would be called head.norm.weight in a weights file, as a tensor of stage norm is" in text
    assert "something other than norm" in text
    made = building.build(backbone.until("stem"), head, classes=3, backbone_options=None, head_options=None, seed=0)
    assert len(made.tensors()) == len(list(made.owned())) == 2 + 4
