"""A frozen part is a fixed function: no bit of it changes, whatever trains around it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tlkit_toy import toy
from torch import Tensor, nn
from toy_training import training

from tlkit.network import building
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network
from tlkit.network.stages import Stage
from tlkit.plugin import Backbone, Head, registry
from tlkit_heads import LinearOptions

OPTIMIZERS = [
    '{name="sgd", momentum=0.9, weight_decay=0.1}',
    '{name="adam", weight_decay=0.1}',
    '{name="adamw", weight_decay=0.1}',
]
STAGES = {"stem": ("conv1.", "bn1."), "block1": ("block1.",), "block2": ("block2.",), "head": ("head.",)}


def copy(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.tensors().items()}


def changed(before: dict[str, Tensor], network: Network) -> set[str]:
    return {name for name, tensor in network.tensors().items() if not torch.equal(tensor, before[name])}


def every(prefixes: Sequence[str], network: Network) -> set[str]:
    return {name for name in network.tensors() if name.startswith(tuple(prefixes))}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_tensor_of_a_frozen_stage_keeps_its_bits_and_every_other_one_changes(
    toy_recipe: Path, stage: str, optimizer: str
) -> None:
    mine = training(toy_recipe, f"freeze={{{stage}=true}}", f"optimizer={optimizer}")
    before = copy(mine.network)
    list(mine.fit.epochs())
    frozen = every(STAGES[stage], mine.network)
    assert frozen
    assert changed(before, mine.network) == set(before) - frozen


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_frozen_backbone_keeps_its_bits_while_the_head_learns(toy_recipe: Path, optimizer: str) -> None:
    mine = training(toy_recipe, "freeze={backbone=true}", f"optimizer={optimizer}")
    before = copy(mine.network)
    list(mine.fit.epochs())
    assert changed(before, mine.network) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("key", "frozen"),
    [
        ("block1.0", {"block1.0.weight"}),
        ("block1.1", {f"block1.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}),
        ("block1.1.weight", {"block1.1.weight"}),
        ("conv1", {"conv1.weight"}),
    ],
)  # fmt: skip
def test_a_module_path_freezes_a_part_of_a_stage(toy_recipe: Path, key: str, frozen: set[str]) -> None:
    mine = training(toy_recipe, f'freeze={{"{key}"=true}}', f"optimizer={OPTIMIZERS[0]}")
    before = copy(mine.network)
    list(mine.fit.epochs())
    assert changed(before, mine.network) == set(before) - frozen


def test_a_module_path_thaws_a_part_of_a_frozen_stage(toy_recipe: Path) -> None:
    mine = training(toy_recipe, 'freeze={backbone=true, "block2.0"=false}', f"optimizer={OPTIMIZERS[2]}")
    before = copy(mine.network)
    list(mine.fit.epochs())
    assert changed(before, mine.network) == {"block2.0.weight", "head.weight", "head.bias"}


def test_a_stage_with_a_phase_is_frozen_before_it_and_trains_after_it(toy_recipe: Path) -> None:
    mine = training(
        toy_recipe, "freeze={stem=true, block1={epochs=2}, head={epochs=1}}", "schedule.epochs=3", f"optimizer={OPTIMIZERS[2]}"
    )
    block1, block2, head = (every(STAGES[name], mine.network) for name in ("block1", "block2", "head"))
    moved, phases = [], []
    before = copy(mine.network)
    for epoch in mine.fit.epochs():
        moved.append(changed(before, mine.network))
        phases.append(epoch.phase)
        before = copy(mine.network)
    assert moved == [block2, block2 | head, block1 | block2 | head]
    assert phases == [1, 2, 3]


def test_no_optimizer_state_exists_for_what_never_trains(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "freeze={stem=true, block1={epochs=1}}")
    epochs = mine.fit.epochs()
    next(epochs)
    states = {name.split("/")[1] for name in mine.fit.tensors() if name.startswith("optimizer/")}
    assert states == {"block2.0.weight", "block2.1.weight", "block2.1.bias", "head.weight", "head.bias"}
    next(epochs)
    states = {name.split("/")[1] for name in mine.fit.tensors() if name.startswith("optimizer/")}
    assert not {name for name in states if name.startswith(("conv1", "bn1"))}
    assert "block1.0.weight" in states


def build_toy() -> Network:
    head = registry.get(Head, "linear")
    return building.build(toy, head, classes=4, backbone_options=None, head_options=LinearOptions(dropout=0.5), seed=0)


def test_a_frozen_network_answers_as_in_eval_mode() -> None:
    network, x = build_toy(), torch.rand(4, 3, 16, 16)
    freeze_(network, lambda name: False)
    answers = [network(x) for _ in range(3)]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], network.eval()(x))
    assert not answers[0].requires_grad


def test_dropout_is_off_in_a_frozen_stage_and_on_in_one_that_trains() -> None:
    network, x = build_toy(), torch.rand(8, 8, 8, 8)
    freeze_(network, lambda name: not name.startswith("block2."))
    block2, head = network.stages["block2"], network.head
    assert torch.equal(block2(x), block2(x))
    pooled = torch.ones(8, 16)
    assert not torch.equal(head(pooled), head(pooled))
    freeze_(network, lambda name: name.startswith("block2."))
    assert not torch.equal(block2(x), block2(x))
    assert torch.equal(head(pooled), head(pooled))


def test_batchnorm_of_a_frozen_stage_uses_its_running_statistics() -> None:
    network, x = build_toy(), torch.rand(8, 3, 16, 16)
    bn = network.stages["stem"].bn1
    bn.running_mean.fill_(0.25)
    bn.running_var.fill_(4.0)
    freeze_(network, lambda name: not name.startswith(("conv1", "bn1")))
    convolved = nn.functional.conv2d(x, network.stages["stem"].conv1.weight, padding=1)
    expected = torch.relu((convolved - 0.25) / (4.0 + bn.eps) ** 0.5)
    torch.testing.assert_close(network.stages["stem"](x), expected)
    assert bn.num_batches_tracked == 0


def test_gradients_pass_a_frozen_stage_in_the_middle() -> None:
    network = build_toy()
    freeze_(network, lambda name: not name.startswith("block1."))
    network(torch.rand(4, 3, 16, 16)).sum().backward()
    assert network.stages["stem"].conv1.weight.grad is not None
    assert network.stages["block1"].block1[0].weight.grad is None


def test_freezing_again_drops_the_gradients_of_what_is_frozen_now() -> None:
    network = build_toy()
    freeze_(network, lambda name: True)
    network(torch.rand(4, 3, 16, 16)).sum().backward()
    freeze_(network, lambda name: name.startswith("head."))
    assert [name.name for name, tensor in network.owned() if tensor.grad is not None] == ["head.weight", "head.bias"]


def plain_stages() -> dict[str, nn.Module]:
    """Stages some of which own no parameter."""
    return {
        "first": Stage({"norm0": nn.BatchNorm2d(3, affine=False)}),
        "conv": Stage({"conv": nn.Conv2d(3, 8, 3), "norm1": nn.BatchNorm2d(8, affine=False)}),
        "plain": Stage({"norm2": nn.BatchNorm2d(8, affine=False), "drop": nn.Dropout(0.5)}),
        "last": Stage({"last": nn.Conv2d(8, 8, 3)}),
    }


PLAIN_FORMAT = Backbone(
    build="test_freezing:plain_stages",
    stages={"first": ("norm0",), "conv": ("conv", "norm1"), "plain": ("norm2", "drop"), "last": ("last",)},
    features=8,
    classifier="fc",
)


@pytest.mark.parametrize(
    ("trains", "moving"),
    [
        ((), set()),
        (("head",), set()),
        (("last", "head"), set()),
        (("conv",), {"norm1", "norm2"}),
        (("conv", "last", "head"), {"norm1", "norm2"}),
    ],
)
def test_a_batchnorm_without_parameters_moves_only_with_the_stage_that_feeds_it(
    trains: tuple[str, ...], moving: set[str]
) -> None:
    head = registry.get(Head, "linear")
    network = building.build(PLAIN_FORMAT, head, classes=3, backbone_options=None, head_options=LinearOptions(), seed=0)
    freeze_(network, lambda name: name.startswith(trains))
    x = torch.rand(4, 3, 12, 12) + 1
    before = copy(network)
    first, second = network.run(x), network.run(x)
    assert {name.partition(".")[0] for name in changed(before, network)} == moving
    assert torch.equal(first, second) == (not moving)  # dropout


def test_the_network_evaluates_in_eval_mode_and_trains_on_as_it_did(toy_recipe: Path) -> None:
    mine = training(toy_recipe, "freeze={stem=true}")
    next(mine.fit.epochs())
    modes = {name: module.training for name, module in mine.network.named_modules()}
    assert not modes["stages.stem.bn1"]
    assert modes["stages.block1.block1.1"]
    assert modes["stages.block2.block2.3"]


@pytest.mark.parametrize(("backbone", "count"), [("toy", 9), ("toy_tapped", 12)])
def test_batch_norm_of_a_stage_that_trains_can_keep_its_running_statistics(toy_recipe: Path, backbone: str, count: int) -> None:
    """Scale and shift train, those of an auxiliary classifier too, and no running statistic changes."""
    mine = training(
        toy_recipe,
        f'backbone.name="{backbone}"',
        'backbone.batch_norm="running"',
        "freeze.stem={epochs=1}",
        "schedule.epochs=2",
    )
    assert [phase.normalised for phase in mine.prepared.plan.phases] == [0, 0]
    before = copy(mine.network)
    list(mine.fit.epochs())
    kept = {name for name in before if any(part in name for part in ("running_", "num_batches"))}
    assert len(kept) == len(list(mine.network.buffers())) == count
    assert changed(before, mine.network) == set(before) - kept


def test_running_statistics_in_training_are_those_of_plain_torch() -> None:
    """As Keras does where a backbone is called with training=False: the layer scales by numbers that do not depend on the batch."""
    network = build_toy()
    freeze_(network, lambda name: True, running_norms=True)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(4, 8, 6, 6, generator=draw)
    norm = network.stages["block1"].block1[1]
    norm.running_mean.uniform_(-1, 1, generator=draw)
    norm.running_var.uniform_(1, 2, generator=draw)
    plain = nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False)
    assert torch.equal(norm(x), plain)
    assert norm.weight.requires_grad
    assert not norm.training
    assert network.stages["block2"].block2[3].training, "dropout is on where its stage trains"


def test_no_digest_changes_with_batch_norm_as_it_was(toy_recipe: Path) -> None:
    of = [
        training(toy_recipe, *more).prepared.job.digest
        for more in ((), ('backbone.batch_norm="batch"',), ('backbone.batch_norm="running"',))
    ]
    assert of[0] == of[1] != of[2]
