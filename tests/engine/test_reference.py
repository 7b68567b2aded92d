"""Ten steps of a recipe are ten steps of a loop that somebody wrote by hand in plain PyTorch, bit for bit."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tlkit_toy import toy
from tlkit_toy_build import ToyNet
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, StepLR
from torchvision.transforms import functional
from toy_training import Training, training

from tlkit.network import weights
from tlkit.plans.plan import Plan
from tlkit.record.formats import PrefixPlan

BACKBONE_LR, HEAD_LR = 3e-3, 2e-2
STEPS = 10  # two epochs of five batches: 72 images, 16 at a time, the last batch of 8

Groups = list[dict[str, object]]
OPTIMIZERS: dict[str, tuple[str, Callable[[Groups], torch.optim.Optimizer]]] = {
    "sgd": (
        '{name="sgd", momentum=0.9, nesterov=true, weight_decay=5e-4}',
        lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True),
    ),
    "plain sgd": ('{name="sgd", momentum=0.0}', lambda groups: torch.optim.SGD(groups, fused=True)),
    "adam": (
        '{name="adam", betas=[0.8, 0.99], weight_decay=1e-3}',
        lambda groups: torch.optim.Adam(groups, betas=(0.8, 0.99), weight_decay=1e-3, fused=True),
    ),
    "adamw": (
        '{name="adamw", eps=1e-7, weight_decay=0.05}',
        lambda groups: torch.optim.AdamW(groups, eps=1e-7, weight_decay=0.05, fused=True),
    ),
}
SCHEDULES: dict[str, tuple[str, Callable[[torch.optim.Optimizer], LRScheduler]]] = {
    "constant after a warm-up": (
        '{name="constant", epochs=2, warmup_epochs=1.0}',
        lambda optimizer: LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5)),
    ),
    "step": ('{name="step", epochs=2, every=1, gamma=0.1}', lambda optimizer: StepLR(optimizer, step_size=5, gamma=0.1)),
    "cosine": (
        '{name="cosine", epochs=2}',
        lambda optimizer: LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / STEPS)) / 2),
    ),
    "one_cycle": (
        '{name="one_cycle", epochs=2}',
        lambda optimizer: OneCycleLR(optimizer, [BACKBONE_LR, HEAD_LR], total_steps=STEPS, cycle_momentum=False),
    ),
}


def unfolded(plan: Plan) -> Plan:
    """The plan in reference mode: nothing folded or stored, the prefix run on whole batches."""
    fixed = PrefixPlan(folded=False, chunk=plan.batch_size)
    phases = (replace(phase, fixed=fixed if phase.fixed else None) for phase in plan.phases)
    return replace(plan, phases=tuple(phases))


def run(recipe: Path, *settings: str) -> Training:
    """A run of the toy recipe with two rate groups."""
    rates = f"lr_groups={{backbone={BACKBONE_LR}, head={HEAD_LR}}}"
    return training(recipe, rates, *settings, change=unfolded)


def library_net(run: Training) -> ToyNet:
    """The library's own network with the run's initial values."""
    net = ToyNet(run.plan.classes)
    net.load_state_dict(weights.export(run.network, toy, linear=True), strict=True)
    return net


def groups(net: ToyNet) -> Groups:
    """The two rates; the stem in a group of its own, since a fused SGD group must begin as a whole."""
    stem, blocks = [net.conv1, net.bn1], [net.block1, net.block2]
    return [
        {"params": [p for module in modules for p in module.parameters()], "lr": torch.tensor(rate)}
        for modules, rate in ((stem, BACKBONE_LR), (blocks, BACKBONE_LR), ([net.fc], HEAD_LR))
    ]


def rates(schedule: str) -> Iterator[list[float]]:
    """The two groups' rates at every step, from torch's schedulers on an optimizer of their own."""
    dummies = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [dummies[0]], "lr": BACKBONE_LR}, {"params": [dummies[1]], "lr": HEAD_LR}], lr=1.0)
    scheduler = SCHEDULES[schedule][1](optimizer)
    for _ in range(STEPS):
        yield [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        scheduler.step()


def batches(run: Training, epoch: int, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch's batches, normalised by torchvision."""
    split = run.prepared.images.splits["train"]
    assert split.pixels is not None
    order = run.prepared.train.order(epoch)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        x = torch.stack([functional.to_tensor(pixels) for pixels in split.pixels[chosen]])
        yield functional.normalize(x, [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), torch.from_numpy(split.targets[chosen])


def train_by_hand(
    net: ToyNet,
    run: Training,
    optimizer: torch.optim.Optimizer,
    steps: Iterator[list[float]],
    *,
    frozen: Callable[[int], list[nn.Module]] = lambda epoch: [],
    accumulate: int = 1,
    clip: float | None = None,
    smoothing: float = 0.0,
) -> None:
    for epoch in (0, 1):
        torch.manual_seed(run.prepared.train.seed * 1_000_003 + epoch + 1)  # dropout's draws
        net.train().requires_grad_(True)
        for module in frozen(epoch):
            module.eval().requires_grad_(False)
        all_batches = list(batches(run, epoch))
        for start in range(0, len(all_batches), accumulate):
            together = all_batches[start : start + accumulate]
            backbone, head = next(steps)
            for group, rate in zip(optimizer.param_groups, (backbone, backbone, head), strict=True):
                group["lr"].fill_(rate)
            optimizer.zero_grad()
            for x, labels in together:
                loss = nn.functional.cross_entropy(net(x), labels, label_smoothing=smoothing)
                if len(together) > 1:
                    loss = loss * (len(labels) / sum(len(each) for _, each in together))
                loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()


def assert_same_bits(run: Training, net: ToyNet, optimizer: torch.optim.Optimizer) -> None:
    mine, theirs = weights.export(run.network, toy, linear=True), net.state_dict()
    assert set(mine) == set(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(mine[name], tensor), name
    expected = {
        f"optimizer/{name.replace('fc.', 'head.')}/{key}": value
        for name, parameter in net.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }
    state = {name: tensor for name, tensor in run.fit.tensors().items() if name.startswith("optimizer/")}
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ten_steps_equal_a_hand_written_loop_with_a_frozen_stage(toy_recipe: Path, optimizer: str, schedule: str) -> None:
    mine = run(toy_recipe, f"optimizer={OPTIMIZERS[optimizer][0]}", f"schedule={SCHEDULES[schedule][0]}", "freeze={stem=true}")
    assert mine.plan.steps == STEPS
    net = library_net(mine)
    reference = OPTIMIZERS[optimizer][1](groups(net))
    list(mine.fit.epochs())
    train_by_hand(net, mine, reference, rates(schedule), frozen=lambda epoch: [net.conv1, net.bn1])
    assert_same_bits(mine, net, reference)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ten_steps_equal_a_hand_written_loop_when_a_stage_joins_at_the_second_epoch(toy_recipe: Path, optimizer: str) -> None:
    mine = run(
        toy_recipe,
        f"optimizer={OPTIMIZERS[optimizer][0]}",
        f"schedule={SCHEDULES['cosine'][0]}",
        'freeze={stem={epochs=1}, "block2.1"=true}',
    )
    net = library_net(mine)
    reference = OPTIMIZERS[optimizer][1](groups(net))
    list(mine.fit.epochs())
    train_by_hand(
        net,
        mine,
        reference,
        rates("cosine"),
        frozen=lambda epoch: [net.block2[1], *([net.conv1, net.bn1] if epoch == 0 else [])],
    )
    assert_same_bits(mine, net, reference)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_accumulation_clipping_and_smoothing_equal_a_hand_written_loop(toy_recipe: Path, optimizer: str) -> None:
    table = OPTIMIZERS[optimizer][0].replace("}", ", accumulate=2, clip_norm=0.3}")
    mine = run(
        toy_recipe,
        f"optimizer={table}",
        'schedule={name="constant", epochs=2}',
        "loss.label_smoothing=0.1",
        "freeze={stem=true}",
    )
    assert mine.plan.steps == 6  # five batches in groups of two: the last step of an epoch has one
    net = library_net(mine)
    reference = OPTIMIZERS[optimizer][1](groups(net))
    list(mine.fit.epochs())
    train_by_hand(
        net,
        mine,
        reference,
        iter([[BACKBONE_LR, HEAD_LR]] * 6),
        frozen=lambda epoch: [net.conv1, net.bn1],
        accumulate=2,
        clip=0.3,
        smoothing=0.1,
    )
    assert_same_bits(mine, net, reference)


def test_two_batches_accumulated_are_one_batch_of_twice_the_size(toy_recipe: Path) -> None:
    settings = ["freeze={backbone=true}", 'optimizer={name="sgd", momentum=0.9}']  # so no BatchNorm depends on the batch
    small = run(toy_recipe, *settings, "data.batch_size=18", "optimizer.accumulate=2")
    large = run(toy_recipe, *settings, "data.batch_size=36")
    assert small.plan.steps == large.plan.steps == 4
    for mine in (small, large):
        list(mine.fit.epochs())
    torch.testing.assert_close(small.network.tensors(), large.network.tensors(), rtol=1e-5, atol=1e-6)


def test_an_uneven_last_batch_weighs_by_its_images(toy_recipe: Path) -> None:
    settings = ["freeze={backbone=true}", 'optimizer={name="sgd", momentum=0.0}', 'schedule={name="constant", epochs=1}']
    small = run(toy_recipe, *settings, "data.batch_size=50", "optimizer.accumulate=2")  # 50 and 22 images
    large = run(toy_recipe, *settings, "data.batch_size=72")
    assert small.plan.steps == large.plan.steps == 1
    for mine in (small, large):
        list(mine.fit.epochs())
    torch.testing.assert_close(small.network.tensors(), large.network.tensors(), rtol=1e-5, atol=1e-6)


def test_clipping_scales_one_steps_gradients_to_the_norm(toy_recipe: Path) -> None:
    settings = [
        "freeze={backbone=true}", 'optimizer={name="sgd", momentum=0.0}', "data.batch_size=72",
        'schedule={name="constant", epochs=1}',
    ]  # fmt: skip
    free, clipped = run(toy_recipe, *settings), run(toy_recipe, *settings, "optimizer.clip_norm=0.01")
    before = {name: tensor.clone() for name, tensor in free.network.head.named_parameters()}
    moved = []
    for mine in (free, clipped):
        list(mine.fit.epochs())
        head = mine.network.head.named_parameters()
        moved.append(torch.cat([(tensor.detach() - before[name]).flatten() for name, tensor in head]))
    assert moved[0].norm() / HEAD_LR > 0.02
    torch.testing.assert_close(moved[1].norm() / HEAD_LR, torch.tensor(0.01), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved[1] / moved[1].norm(), moved[0] / moved[0].norm(), rtol=1e-2, atol=1e-3)


def test_label_smoothing_is_the_mean_of_the_label_and_the_uniform_distribution(toy_recipe: Path) -> None:
    mine = run(toy_recipe, "freeze={backbone=true}", "loss.label_smoothing=0.2", "data.batch_size=72", "schedule.epochs=1")
    net = library_net(mine).eval()
    (epoch,) = mine.fit.epochs()
    ((x, labels),) = batches(mine, 0, size=72)
    with torch.no_grad():
        log_p = net(x).log_softmax(1)
    own = -log_p.gather(1, labels[:, None]).mean()
    assert epoch.train["loss"] == pytest.approx(float(0.8 * own - 0.2 * log_p.mean()), rel=1e-5)
    assert epoch.train["accuracy"] == pytest.approx(float((log_p.argmax(1) == labels).double().mean()))


def test_weight_decay_and_momentum_of_a_group_are_its_own(toy_recipe: Path) -> None:
    mine = training(
        toy_recipe,
        "lr_groups={backbone={lr=0.01, weight_decay=0.1, momentum=0.5}, head=0.02}",
        'optimizer={name="sgd", momentum=0.9, weight_decay=0.001}',
        'schedule={name="constant", epochs=2}',
    )
    net = library_net(mine)
    own = {"weight_decay": 0.1, "momentum": 0.5}
    tables = [own, own, {}]
    reference = torch.optim.SGD(
        [group | table for group, table in zip(groups(net), tables, strict=True)], momentum=0.9, weight_decay=0.001, fused=True
    )
    list(mine.fit.epochs())
    train_by_hand(net, mine, reference, iter([[0.01, 0.02]] * STEPS))
    assert_same_bits(mine, net, reference)


def test_the_sum_of_losses_is_the_mean_over_images_as_the_network_was_at_each_step(toy_recipe: Path) -> None:
    mine = run(toy_recipe, "schedule.epochs=1", "freeze={stem=true, block1=true, block2=true}")
    net = library_net(mine).eval()
    optimizer = torch.optim.AdamW(net.fc.parameters(), lr=HEAD_LR, weight_decay=0.01)
    (epoch,) = mine.fit.epochs()
    total = 0.0
    for step, (x, labels) in enumerate(batches(mine, 0)):
        optimizer.param_groups[0]["lr"] = HEAD_LR * (1 + math.cos(math.pi * step / 5)) / 2
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    assert epoch.train["loss"] == pytest.approx(total / 72, rel=1e-5)
