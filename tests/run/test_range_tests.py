"""Range tests of learning rates: the steps that they take, what they leave as it was, and rates that a recipe leaves to them."""

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from toy_observers import SignalAfter
from toy_training import CPU, Training, training

import tlkit
from tlkit import api
from tlkit.engine import range_test
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, TlkitError
from tlkit.events import Observer
from tlkit.plans import auto_rates
from tlkit.record import epoch_lines, run_folder
from tlkit.record import range_tests as records
from tlkit.run import range_tests

pytestmark = pytest.mark.usefixtures("undrawn")

AUTO = "lr_groups={backbone='auto', head='auto'}"


def test_a_domain_head_is_in_no_range_test(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a range test are of the source alone, so it would not move."""
    made = training(
        toy_recipe, 'also.dark={name="synthetic", options={classes=4, noise=0.9}, split={per_class=3}}',
        'adapt={target="dark", method="dann"}', 'lr_groups={backbone=1e-2, head=1e-2, "head.domain"=1e-3}',
    )  # fmt: skip
    assert "head.domain" in [group.name for group in made.plan.groups]
    monkeypatch.setattr(range_tests, "measure", lambda _, groups, *__, **more: groups)
    moved = range_tests.tests(made.prepared, Runtime(CPU, graph=False), each=True, steps=20)
    assert moved == [("backbone", "head"), ("backbone",), ("head",)]


class Steps(Observer):
    """Counts the steps of range tests."""

    count = 0

    def testing_rates(self, done: int, total: int) -> None:
        self.count += 1


def taken(made: Training, rates: list[dict[str, float]]) -> range_test.Taken:
    plan = made.plan
    return range_test.take(
        plan, made.network, made.prepared.job.resolved.backbone, made.prepared.train, Runtime(CPU), phase=plan.phases[-1], rates=rates
    )  # fmt: skip


def written(recipe: Path, *settings: str) -> Path:
    (folder,) = (api.apply(recipe, settings, runs=recipe.parent / "runs").folder).glob("main-*")
    return folder


@pytest.mark.parametrize("moved", [("backbone", "head"), ("head",)])
def test_steps_are_those_of_plain_pytorch(toy_recipe: Path, moved: tuple[str, ...]) -> None:
    made = training(toy_recipe)
    made.network.stages["block2"].get_submodule("block2.3").p = 0.0  # dropout
    network, train = copy.deepcopy(made.network).train(), made.prepared.train
    rates = [10 ** (-4 + step / 4) for step in range(8)]
    found = taken(made, [dict.fromkeys(moved, rate) for rate in rates])
    heads = [each for name, each in network.named_parameters() if name.startswith("head")]
    backbone = [each for name, each in network.named_parameters() if not name.startswith("head")]
    optimizer = torch.optim.AdamW([{"params": backbone}, {"params": heads}], weight_decay=0.01)
    expected, losses = [chunk for epoch in (0, 1) for chunk in train.order(epoch)[:64].reshape(-1, 16)], []
    for rate, chosen in zip(rates, expected, strict=True):
        for group, name in zip(optimizer.param_groups, ("backbone", "head"), strict=True):
            group["lr"] = rate if name in moved else 0.0
        loss = torch.nn.functional.cross_entropy(network(train.inputs(chosen, 0, CPU)), train.targets(chosen, 0, CPU))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert found.losses == pytest.approx(losses, rel=1e-4)
    assert (found.ended, found.passes) == ("", 2)


@pytest.mark.parametrize("most", [1.0, 1e30], ids=["falls", "diverges"])
def test_all_is_as_before_bit_for_bit(toy_recipe: Path, most: float) -> None:
    made = training(toy_recipe, "optimizer={name='sgd', momentum=0.9}")
    next(iter(made.fit.epochs()))  # momentum and running statistics are not those of a new network

    def state() -> list[torch.Tensor]:
        tensors = [
            *made.fit.tensors().values(),
            *(made.network.get_parameter(name) for name, _ in made.network.named_parameters()),
        ]
        return [torch.get_rng_state(), torch.from_numpy(np.asarray(np.random.get_state()[1]).astype(np.int64)), *tensors]

    before, drawn = [each.clone() for each in state()], random.getstate()
    modes = [(module.training, [each.requires_grad for each in module.parameters()]) for module in made.network.modules()]
    found = taken(made, [{"backbone": most, "head": most}] * 6)
    assert len(found.losses) == 6 or found.ended == "the loss is not a number"
    assert all(torch.equal(one, other) for one, other in zip(before, state(), strict=True))
    assert drawn == random.getstate()
    assert modes == [
        (module.training, [each.requires_grad for each in module.parameters()]) for module in made.network.modules()
    ]


def test_a_loss_that_is_not_a_number_ends_the_range(toy_recipe: Path) -> None:
    found = taken(training(toy_recipe, "optimizer={name='sgd'}"), [{"backbone": 1e30, "head": 1e30}] * 6)
    assert found.ended == "the loss is not a number"
    assert 0 < len(found.losses) < 6


def test_groups_move_in_the_first_phase_in_which_all_of_them_train(toy_recipe: Path) -> None:
    plan = training(toy_recipe, "freeze={backbone={epochs=1}}").plan
    assert range_tests.phase_of(plan, ["head"]).prefix == ("stem", "block1", "block2")
    assert range_tests.phase_of(plan, ["head", "backbone"]).prefix == ()


def test_images_have_the_size_of_the_phase(toy_recipe: Path) -> None:
    sizes = "data.image_sizes=[{epochs=1, size=12}, {epochs=1, size=16}]"
    made = training(
        toy_recipe,
        "lr_groups={backbone=1e-2, head='auto'}",
        sizes,
        change=lambda plan: auto_rates.filled(plan, {"head": 1.0}, reason=""),
    )
    assert {stage.peak_lr for size in made.plan.sizes for stage in size.stages} == {(0.01,), (1.0,)}
    small, large = (
        range_test.take(
            made.plan, made.network, made.prepared.job.resolved.backbone, made.prepared.train, Runtime(CPU), phase=phase, rates=[{}] * 2
        )
        for phase in made.plan.phases
    )  # fmt: skip
    plain = taken(training(toy_recipe, "data.image_size=12"), [{}] * 2)
    assert small.losses == pytest.approx(plain.losses, rel=1e-5)
    assert small.losses != large.losses


def test_auto_trains_as_the_rate_that_it_chooses_and_keeps_it(toy_recipe: Path) -> None:
    runs = toy_recipe.parent / "runs"
    with pytest.raises(Interrupted):
        api.apply(toy_recipe, AUTO, runs=runs, observer=SignalAfter(1))
    (auto,) = (runs / "toy").glob("main-*")
    known = run_folder.resolved(auto)["rates"]
    assert known["backbone"] == known["head"]
    watching = Steps()
    api.apply(toy_recipe, [AUTO, "seeds=[0, 1]"], runs=runs, observer=watching)
    assert watching.count == 0  # it goes on with the rates that it had, and the other seed has them too
    assert all(run_folder.resolved(each)["rates"] == known for each in auto.parent.glob("main-*"))
    plain = written(toy_recipe, f"lr_groups={{backbone={known['backbone']}, head={known['head']}}}", "name='plain'")
    ours, theirs = epoch_lines.read(auto), epoch_lines.read(plain)
    assert [(each["train"], each["lr"]) for each in ours] == [(each["train"], each["lr"]) for each in theirs]
    assert auto.name.rpartition("-")[2] != plain.name.rpartition("-")[2]
    assert [each.arm for each in records.load(auto.parent)] == ["main"]


def test_model_lets_a_range_test_choose_its_rate() -> None:
    labels = np.arange(60) % 3
    images = (np.random.default_rng(0).integers(1, 80, (60, 16, 16, 3)) * (1 + labels[:, None, None, None])).astype(np.uint8)
    model = tlkit.Model("toy", weights="none", classes=3)
    model.compile("sgd", lr="auto", schedule="constant")
    rates = set(model.fit(images, labels, epochs=1, verbose=0).history["lr"])
    assert len(rates) == 1
    assert 1e-6 < rates.pop() < 10


def test_plan_says_that_a_range_test_chooses(toy_recipe: Path) -> None:
    (plan,) = tlkit.plan(toy_recipe, AUTO).values()
    assert [group.lr for group in plan.groups] == [None, None]
    assert {stage.peak_lr for stage in plan.stages} == {(None,)}
    told = [each for each in plan.choices if each.what.startswith("lr_groups")]
    assert [each.value for each in told] == ["auto", "auto"]
    assert "a range test of 100 steps chooses it before training" in told[0].reason


def test_command_shows_each_group_and_keeps_the_curves(toy_recipe: Path, run: Cli) -> None:
    code, out, _ = run("rates", toy_recipe, "--each", "--steps", "40")
    assert code == 0
    assert "would set lr_groups.backbone = " in out
    assert "backbone kept still" in out
    folder = toy_recipe.parent / "runs" / "toy"
    assert (folder / "rates.svg").read_text().count("main: ") == 3
    assert [list(each.ratios) for each in records.load(folder)] == [["backbone", "head"], ["backbone"], ["head"]]
    assert not list(folder.glob("main-*"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"settings": "head={kind='svm'}"}, "arm main has no learning rate: its svm head is solved, not trained"),
        ({"arm": "mian"}, 'the recipe has no arm "mian"'),
        ({"steps": 3}, "a range test takes 20 to 2,000 steps"),
        ({"steps": 2001}, "a range test takes 20 to 2,000 steps"),
        ({"settings": "lr_groups.layer9=1e-3"}, 'toy has no stage "layer9"'),
        ({"settings": "lr_groups.head='fast'"}, 'lr_groups.head: is "fast"'),
        ({"settings": "lr_groups.backbone={lr='auto', decay=0.5}"}, "a range test chooses one rate for all of the part"),
    ],
)
def test_what_is_wrong_is_said(toy_recipe: Path, settings: dict[str, str], said: str) -> None:
    with pytest.raises(TlkitError) as error:
        tlkit.rates(toy_recipe, **settings)
    assert said in str(error.value)
