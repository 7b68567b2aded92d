"""The embedding point: which stage a head reads, and how, against networks put together by hand."""

from pathlib import Path

import pytest
import torch
from conftest import Cli
from torch import nn
from toy_training import training

from tlkit.errors import RecipeError, WeightsError
from tlkit.network import building, tensor_files, weights
from tlkit.network.network import Network
from tlkit.plugin import Backbone, Head, registry


def built(
    name: str, stage: str | None, *, pooled: bool = True, size: int = 64, kind: str = "linear"
) -> tuple[Network, Backbone]:
    backbone, head = registry.get(Backbone, name).until(stage, pooled=pooled), registry.get(Head, kind)
    made = building.build(
        backbone, head, classes=5, backbone_options=None, head_options=head.options(), seed=0, image_size=(size, size)
    )
    return made.eval(), backbone


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """Torchvision's network with random weights, and their file, 244 MB."""
    from torchvision.models import alexnet

    network = alexnet(weights=None).eval()
    file = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save(network.state_dict(), file)
    return network, file


@pytest.mark.parametrize(
    ("stage", "pooled", "features"),
    [
        ("fc7", True, 4096),
        ("fc6", True, 4096),
        ("conv5", True, 256),
        ("conv5", False, 256 * 1 * 1),
        ("conv3", True, 384),
        ("conv3", False, 384 * 3 * 3),
        (None, False, 4096),
    ],
)
def test_alexnets_embeddings_are_torchvisions(
    alexnet: tuple[nn.Module, Path], stage: str | None, pooled: bool, features: int
) -> None:
    theirs, file = alexnet
    mine, backbone = built("alexnet", stage, pooled=pooled)
    assert mine.head.weight.shape == (5, features)
    weights.load_(mine, file, backbone=backbone, name="alexnet")
    last = {"conv3": 8, "conv5": 13}.get(stage or "", 13)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.features[:last](x)
        if stage in ("fc6", "fc7", None):
            expected = theirs.classifier[: 3 if stage == "fc6" else 6](torch.flatten(theirs.avgpool(expected), 1))
        elif pooled:
            expected = expected.mean((2, 3))
        found = mine.read(mine.run(x))
        assert torch.allclose(found, torch.flatten(expected, 1), atol=1e-6)
        assert torch.allclose(mine(x), torch.nn.functional.linear(found, mine.head.weight, mine.head.bias), atol=1e-6)


def test_what_lies_behind_is_neither_loaded_nor_owned(tmp_path: Path) -> None:
    from torchvision.models import inception_v3

    with torch.device("meta"):
        names = set(inception_v3(weights=None, init_weights=False).state_dict())
    mine, backbone = built("inception_v3", "Mixed_5d", size=80)
    held = {name for name in mine.tensors() if not name.startswith("head.")}
    assert held < names
    assert not any(name.startswith(("Mixed_6", "Mixed_7", "AuxLogits", "fc.")) for name in held)
    assert not backbone.aux_heads, "the auxiliary classifier reads a stage behind it"


def test_a_file_that_lacks_a_needed_tensor_is_still_refused(alexnet: tuple[nn.Module, Path], tmp_path: Path) -> None:
    tensors = {name: each for name, each in alexnet[0].state_dict().items() if name.startswith("features.")}
    del tensors["features.3.weight"]
    torch.save(tensors, tmp_path / "alexnet.pth")
    mine, backbone = built("alexnet", "conv3")
    with pytest.raises(WeightsError, match=r"missing: features\.3\.weight"):
        weights.load_(mine, tmp_path / "alexnet.pth", backbone=backbone, name="alexnet")


@pytest.mark.parametrize("pooled", ["true", "false"])
@pytest.mark.parametrize("freeze", ["{}", "{backbone=true}"])
def test_a_head_on_an_inner_stage_trains_alike_stored_and_computed(toy_recipe: Path, pooled: str, freeze: str) -> None:
    from dataclasses import replace

    from tlkit.plans.plan import Plan

    def without_stores(plan: Plan) -> Plan:
        fixed = [phase.fixed and replace(phase.fixed, train=None, evaluation=None) for phase in plan.phases]
        return replace(plan, phases=tuple(replace(phase, fixed=each) for phase, each in zip(plan.phases, fixed, strict=True)))

    settings = ["head.embed=block1", f"head.pooled={pooled}", f"freeze={freeze}"]
    one, other = training(toy_recipe, *settings), training(toy_recipe, *settings, change=without_stores)
    assert one.network.head.weight.shape == (4, 8 if pooled == "true" else 8 * 8 * 8)
    assert [stage.name for stage in one.plan.stages] == ["stem", "block1", "head"]
    for mine in (one, other):
        assert all(epoch.train["loss"] > 0 for epoch in mine.fit.epochs())
    left, right = one.network.tensors(), other.network.tensors()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_runs_with_an_embedding_point_are_predicted_with_and_begun_from(run: Cli, toy_recipe: Path) -> None:
    assert run("apply", toy_recipe, "--set", "schedule.epochs=1")[0] == 0
    (whole,) = (toy_recipe.parent / "runs" / "toy").glob("main-*")
    code, _, error = run(
        "apply", toy_recipe, "--set", "name=second", "--set", f"backbone.weights=run:{whole}", "--set", "head.embed=block1",
        "--set", "head.pooled=false", "--set", "schedule.epochs=1", "--set", "freeze={backbone=true}",
    )  # fmt: skip
    assert code == 0, error
    (folder,) = (toy_recipe.parent / "runs" / "second").glob("main-*")
    first, second = (tensor_files.read(each / "weights.safetensors").tensors for each in (whole, folder))
    assert torch.equal(first["block1.0.weight"], second["block1.0.weight"])
    assert not any(name.startswith("block2") for name in second)
    from tlkit.run import loading

    predictor = loading.load(folder, arm=None, device=torch.device("cpu"))
    assert predictor.network.head.weight.shape == (4, 512)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["head.embed=block9"], 'head.embed: toy has no stage "block9"'),
        (
            ["head.kind=conv", "head.pooled=false"],
            "head.pooled: is false, but the conv head always reads the whole feature map",
        ),
        (["head.embed=block1", "freeze={block2=true}"], 'freeze.block2: toy has no stage "block2"'),
    ],
)
def test_what_does_not_go_together_is_a_message(toy_recipe: Path, settings: list[str], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        training(toy_recipe, *settings)
    assert words in str(error.value)
