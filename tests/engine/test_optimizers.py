"""The optimizer that a plan describes: its kind and numbers, its state, and where both lie."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_step import LATE_STEM, OPTIMIZERS, made, table
from toy_training import CPU

from tlkit.engine.step import optimizers
from tlkit.network.network import Network
from tlkit.plans.plan import Plan


def after_a_step(network: Network, plan: Plan) -> torch.optim.Optimizer:
    optimizer = optimizers.build_optimizer(network, plan, CPU)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


# The optimizer's table -> its kind and numbers
@pytest.mark.parametrize(
    ("kind", "more", "of", "numbers"),
    [
        ("sgd", (), torch.optim.SGD, {"momentum": 0.9, "nesterov": False, "weight_decay": 1e-3}),
        ("plain sgd", (), torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ("nesterov", (), torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("adam", ("betas=[0.8, 0.95]", "eps=1e-3"), torch.optim.Adam, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 1e-3}),
        ("adamw", ("betas=[0.8, 0.95]", "eps=1e-3"), torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-3}),
    ],
)  # fmt: skip
def test_the_optimizer_has_the_numbers_of_the_recipe_and_its_rates_are_tensors(
    toy_recipe: Path, kind: str, more: tuple[str, ...], of: type, numbers: dict[str, object]
) -> None:
    apart = "lr_groups.head={lr=2e-2, momentum=0.5}" if "momentum" in numbers else "lr_groups.head={lr=2e-2, weight_decay=0.0}"
    network, plan = made(toy_recipe, table(kind, *more), "freeze.stem=true", apart)
    optimizer = optimizers.build_optimizer(network, plan, CPU)
    assert type(optimizer) is of
    assert [group["name"] for group in optimizer.param_groups] == [group.name for group in plan.groups]
    assert len({(group.momentum, group.weight_decay) for group in plan.groups}) == 2
    for group, planned in zip(optimizer.param_groups, plan.groups, strict=True):
        own = {"weight_decay": planned.weight_decay, **({} if planned.momentum is None else {"momentum": planned.momentum})}
        assert {**group, **numbers, "fused": True, **own} == group
        assert ("momentum" in group) == ("momentum" in numbers)
        assert (group["lr"].dtype, group["lr"].tolist()) == (torch.float32, pytest.approx(planned.lr))
        assert len(group["params"]) == sum(p.group == planned.name and p.trains_from is not None for p in plan.parameters)
        buffers = [optimizer.state.get(each, {}).get("momentum_buffer") for each in group["params"]]
        assert all(buffer is not None and not buffer.any() for buffer in buffers) if group.get("momentum") else not any(buffers)


def test_a_rate_that_a_range_test_has_yet_to_choose_begins_at_zero(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe)
    plan = replace(plan, groups=tuple(replace(group, lr=None) for group in plan.groups))
    rates = [float(group["lr"]) for group in optimizers.build_optimizer(network, plan, CPU).param_groups]
    assert rates == [0.0] * len(plan.groups)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_state_is_taken_as_it_was_saved_and_what_was_not_saved_is_forgotten(toy_recipe: Path, kind: str) -> None:
    network, plan = made(toy_recipe, table(kind), LATE_STEM)
    network.lay_out_(torch.channels_last)
    trained = after_a_step(network, plan)
    saved = {name: tensor.contiguous().clone() for name, tensor in optimizers.state(trained, network, plan).items()}
    names = {name.rpartition("/")[0] for name in saved}
    assert names == ({f"optimizer/{p.name}" for p in plan.parameters} if kind != "plain sgd" else set())
    fresh = optimizers.build_optimizer(network, plan, CPU)
    some = {name: tensor.double() for name, tensor in saved.items() if not name.startswith("optimizer/head.bias/")}
    optimizers.load_state_(fresh, {**some, "head.bias": torch.zeros(4)}, network, plan)
    found = optimizers.state(fresh, network, plan)
    assert found.keys() == some.keys()
    assert all(torch.equal(found[name].double(), tensor) for name, tensor in some.items())
    weights = {f"optimizer/{p.name}": tensor for p, tensor in network.owned()}
    assert all(each.stride() == weights[name.rpartition("/")[0]].stride() for name, each in found.items() if each.ndim)
    assert fresh.state.keys() == {
        tensor for p, tensor in network.owned() if f"optimizer/{p.name}" in names - {"optimizer/head.bias"}
    }
    if kind.startswith("adam"):
        assert {tensor.dtype for tensor in found.values()} == {torch.float64}, (
            "a tensor that was not there has the type of the saved one"
        )
