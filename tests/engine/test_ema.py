"""The running mean of the weights is what a loop by hand and torch's own AveragedModel make of them."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from toy_operators import FAKE, Operators, on_a_gpu_that_is_not_there
from toy_step import LATE_STEM, addresses, assert_same, copies, made, table, train
from toy_training import CPU

from tlkit.engine.step.ema import Average, move_
from tlkit.engine.step.step import Step

DECAY = 0.4  # reached at the sixth update: 6 / 15


def averaging(recipe: Path, *settings: str, decay: float = DECAY) -> Step:
    network, plan = made(recipe, table("sgd", f"ema={decay}"), *settings)
    return Step(network, plan, CPU)


def means(step: Step) -> dict[str, Tensor]:
    return {name.removeprefix("ema/"): tensor for name, tensor in step.state().items() if name.startswith("ema/")}


def epochs(step: Step) -> Iterable[int]:
    """Two epochs of five steps, one step at a time."""
    for at in range(10):
        epoch = 1 + at // 5
        if at % 5 == 0:
            step.begin_(epoch)
        train(step, steps=1, epoch=epoch, first=at)
        yield at


def test_a_number_worked_by_hand(toy_recipe: Path) -> None:
    """From 0, after 5: 0.1 * 0 + 0.9 * 5 = 4.5; after 16, d = 2/11: 4.5 * 2/11 + 16 * 9/11 = 153/11."""
    network, plan = made(toy_recipe)
    bias = network.head.bias
    nn.init.zeros_(bias)
    average = Average(network, plan, 0.9)
    for value, mean in ((5.0, 4.5), (16.0, 153 / 11)):
        nn.init.constant_(bias, value)
        average.update_()
        assert average.state()["ema/head.bias"].tolist() == pytest.approx([mean] * 4)


def test_the_mean_is_that_of_a_loop_by_hand(toy_recipe: Path) -> None:
    step = averaging(toy_recipe, LATE_STEM)
    mean = {name: tensor.double() for name, tensor in copies(step).items() if tensor.is_floating_point()}
    for t in epochs(step):
        decay = min(DECAY, (1 + t) / (10 + t))
        now = step.network.tensors()
        mean = {name: decay * old + (1 - decay) * now[name].double() for name, old in mean.items() if name in now}
    found = means(step)
    assert found.pop("updates") == 10
    assert set(found) == set(mean)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.double(), mean[name], rtol=1e-6, atol=1e-7, msg=name)


def test_the_mean_is_that_of_torchs_averaged_model(toy_recipe: Path) -> None:
    step = averaging(toy_recipe)
    count = 0

    def ema(means: list[Tensor], now: list[Tensor], _: object) -> None:
        decay = min(DECAY, (1 + count) / (10 + count))
        for mean, tensor in zip(means, now, strict=True):
            if mean.is_floating_point():
                mean.lerp_(tensor, 1 - decay)

    theirs = AveragedModel(step.network, multi_avg_fn=ema, use_buffers=True)
    theirs.update_parameters(step.network)  # its first is a copy
    for t in epochs(step):
        count = t
        theirs.update_parameters(step.network)
    expected = {name: tensor for name, tensor in theirs.module.tensors().items() if tensor.is_floating_point()}
    found = means(step)
    found.pop("updates")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_only_what_ever_trains_has_a_mean(toy_recipe: Path) -> None:
    step = averaging(toy_recipe, "freeze={stem=true, block1={epochs=1}}")
    statistics = {"running_mean", "running_var"}
    norm = {"weight", "bias", *statistics}
    expected = {f"{block}.1.{name}" for block in ("block1", "block2") for name in norm}
    expected |= {"block1.0.weight", "block2.0.weight", "head.weight", "head.bias", "updates"}
    assert set(means(step)) == expected
    behind = averaging(toy_recipe, "freeze={block1=true}")  # its statistics are not those of the fixed prefix
    beside = {f"{stage}.{name}" for stage in ("bn1", "block2.1") for name in norm} | {f"block1.1.{name}" for name in statistics}
    assert set(means(behind)) == beside | {"conv1.weight", "block2.0.weight", "head.weight", "head.bias", "updates"}


def test_what_begins_later_is_its_own_mean_until_then(toy_recipe: Path) -> None:
    step = averaging(toy_recipe, LATE_STEM)
    before = copies(step)
    step.begin_(1)
    train(step, steps=4)
    for name in ("conv1.weight", "bn1.weight", "bn1.running_var"):
        assert torch.equal(means(step)[name], before[name])
    assert not torch.equal(means(step)["block1.0.weight"], before["block1.0.weight"])


def test_the_network_holds_the_mean_and_then_its_own_weights_again(toy_recipe: Path) -> None:
    step = averaging(toy_recipe)
    step.begin_(1)
    train(step, steps=3)
    before, at = copies(step), addresses(step)
    with step.averaged():
        for name, tensor in step.network.tensors().items():
            assert torch.equal(tensor, before.get(f"ema/{name}", before[name])), name
        assert not torch.equal(step.network.head.weight, before["head.weight"])
        assert addresses(step) == at
    assert_same(copies(step), before)
    assert addresses(step) == at


def test_an_error_while_the_mean_is_in_gives_the_weights_back(toy_recipe: Path) -> None:
    step = averaging(toy_recipe)
    step.begin_(1)
    train(step, steps=2)
    before = copies(step)
    with pytest.raises(ValueError, match="stopped"), step.averaged():
        raise ValueError("stopped")
    assert_same(copies(step), before)


def test_evaluating_in_between_changes_no_bit(toy_recipe: Path) -> None:
    ends = []
    for look in (False, True):
        step = averaging(toy_recipe)
        torch.manual_seed(0)  # dropout
        for _ in epochs(step):
            if look:
                with step.averaged(), torch.no_grad():
                    step.network.head(torch.ones(2, 16))
        ends.append(copies(step))
    assert_same(ends[1], ends[0])


def test_training_is_the_same_with_and_without_a_mean(toy_recipe: Path) -> None:
    ends = []
    for setting in (table("sgd"), table("sgd", "ema=0.99")):
        network, plan = made(toy_recipe, setting)
        step = Step(network, plan, CPU)
        torch.manual_seed(0)
        list(epochs(step))
        ends.append(network.tensors())
    assert_same(ends[1], ends[0])


def test_without_a_mean_the_network_is_evaluated_as_it_is(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe)
    step = Step(network, plan, CPU)
    before = copies(step)
    with step.averaged():
        assert_same(copies(step), before)
    assert not any(name.startswith("ema/") for name in before)


def test_a_checkpoint_without_the_mean_is_refused(toy_recipe: Path) -> None:
    with pytest.raises(KeyError, match="ema/"):
        averaging(toy_recipe).load_state_({})


def test_a_gpus_update_is_the_cpus_to_the_last_bits() -> None:
    torch.manual_seed(0)
    now = [torch.randn(7, 3), torch.randn(5), torch.randn(4).double()]
    weights = [torch.tensor(0.3), torch.tensor(0.6, dtype=torch.float64)]
    means = [torch.randn_like(each) for each in now]
    expected = [mean.lerp(each, 0.6 if each.dtype == torch.float64 else 0.3) for mean, each in zip(means, now, strict=True)]
    move_(means, now, weights)
    for mean, right in zip(means, expected, strict=True):
        torch.testing.assert_close(mean, right)


def test_a_gpus_update_takes_as_many_operators_for_any_number_of_tensors() -> None:
    counts = []
    for tensors in (2, 60):
        with on_a_gpu_that_is_not_there():
            now = [torch.empty(7, 3, device=FAKE) for _ in range(tensors)]
            means, weights = [torch.empty_like(each) for each in now], [torch.empty((), device=FAKE)]
            with Operators() as operators:
                move_(means, now, weights)
        assert operators.reads == []
        counts.append(operators.kernels)
    assert counts == [["_foreach_sub", "_foreach_mul_", "_foreach_add_"]] * 2
