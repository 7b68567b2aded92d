"""Auxiliary classifiers: they train what lies before them, run only where something does, and are otherwise left alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE
from safetensors.torch import load_file, save_file
from tlkit_toy import toy_tapped
from tlkit_toy_build import ToyTapped
from torch import Tensor, nn
from toy_training import CPU, Training, training

from tlkit import api
from tlkit.errors import PluginError, RecipeError, WeightsError
from tlkit.plans.auxiliary import AuxHeads
from tlkit.plugin import AuxHead, Backbone
from tlkit.reports.page import arm_charts, charts, page, runs

BOTH = "lr_groups={backbone=0.05, head=0.1}"
SGD = 'optimizer={name="sgd", momentum=0.9}'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tapped.toml"
    path.write_text(TOY_RECIPE.replace('name = "toy"', 'name = "toy_tapped"').replace('"toy_tapped"', '"tapped"', 1))
    return path


def reference(mine: Training) -> ToyTapped:
    """The library's own network with the same tensors; dropout is off in both."""
    net = ToyTapped()
    tensors = mine.network.tensors()
    net.load_state_dict({name.replace("head.", "fc."): tensor.clone() for name, tensor in tensors.items()})
    for module in (*net.modules(), *mine.network.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def aux_tensors(mine: Training) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in mine.network.tensors().items() if name.startswith("aux.")}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_loss_of_a_classifier_that_never_runs_is_a_flat_line_in_the_report(recipe: Path) -> None:
    """It is that of the library's own network with the run's weights on its training images."""
    settings = (BOTH, "freeze={backbone=true}", "schedule.epochs=2")
    done = api.apply(recipe, settings, runs=recipe.parent / "runs")
    (arm,) = runs.by_arm(runs.read(runs.find([done.folder])))
    known = arm.first.data.about["aux_loss"]
    mine = training(recipe, *settings)
    net = reference(mine).eval()
    part = mine.prepared.decoded.training
    few = part.indices[np.unique(np.linspace(0, len(part.indices) - 1, num=known["images"], dtype=int))]
    with torch.no_grad():
        logits = net.aux(net.block1(net.relu(net.bn1(net.conv1(part.inputs(few, 0, CPU))))))
    expected = float(nn.functional.cross_entropy(logits, part.targets(few, 0, CPU)))
    assert known["loss"] == pytest.approx(expected, rel=1e-5)
    (line,) = (each for each in arm_charts.curves([arm], "loss").data if each["name"] == "main, auxiliary loss")
    assert line["y"] == [charts.rounded(known["loss"])] * 2
    assert f"{known['loss']:.3f} on {known['images']} training images" in page.render([arm])


@pytest.mark.parametrize("weight", [None, 0.75])
def test_training_is_that_of_a_loop_written_by_hand(recipe: Path, weight: float | None) -> None:
    more = [] if weight is None else [f"head.aux_weight={weight}"]
    mine = training(recipe, BOTH, SGD, 'schedule={name="constant", epochs=2}', *more)
    net = reference(mine)
    groups = [
        {"params": [p for name, p in net.named_parameters() if not name.startswith(("fc.", "aux."))], "lr": 0.05},
        {"params": [p for name, p in net.named_parameters() if name.startswith(("fc.", "aux."))], "lr": 0.1},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9, fused=True)
    losses = []
    for number, epoch in enumerate(mine.fit.epochs()):
        total = torch.zeros(2, dtype=torch.float64)
        net.train()
        order = mine.prepared.train.order(number)
        for start in range(0, len(order), 16):
            chosen = order[start : start + 16]
            x = mine.prepared.train.inputs(chosen, number, torch.device("cpu")).contiguous()
            y = mine.prepared.train.targets(chosen, number, torch.device("cpu"))
            logits, aside = net(x)
            main, other = nn.functional.cross_entropy(logits, y), nn.functional.cross_entropy(aside, y)
            optimizer.zero_grad()
            (main + other * (0.4 if weight is None else weight)).backward()
            optimizer.step()
            total += torch.tensor([main.item(), other.item()], dtype=torch.float64) * len(y)
        losses.append((epoch, total / len(order)))
        expected = {name.replace("fc.", "head.") if name.startswith("fc.") else name: t for name, t in net.state_dict().items()}
        assert same(dict(mine.network.tensors()), expected)
    for epoch, (main, other) in losses:
        assert epoch.train["loss"] == pytest.approx(float(main), rel=1e-6)
        assert epoch.train["aux_loss"] == pytest.approx(float(other), rel=1e-6)
        assert "aux_loss" not in epoch.test


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["freeze={backbone=true}"], "nothing trains at or before block1, which it reads"),
        (["freeze={stem=true, block1=true}"], "nothing trains at or before block1, which it reads"),
        (["head.aux_weight=0.0"], "head.aux_weight is 0"),
        (["data.image_size=10"], "it needs images of at least 12 px"),
    ],
)
def test_one_that_teaches_nobody_is_neither_run_nor_changed(recipe: Path, settings: list[str], words: str) -> None:
    mine = training(recipe, BOTH, *settings)
    (choice,) = (choice for choice in mine.plan.choices if choice.what == "aux")
    assert (choice.value, choice.reason) == ("not run, not changed", words)
    calls: list[int] = []
    mine.network.aux_heads["aux"].register_forward_hook(lambda *_: calls.append(1))
    before = aux_tensors(mine)
    epochs = list(mine.fit.epochs())
    assert not calls
    assert same(aux_tensors(mine), before)
    assert all("aux_loss" not in epoch.train for epoch in epochs)
    assert mine.plan.stages[-1].name == "head.aux"
    assert mine.plan.stages[-1].trained == 0
    assert not [line for line in mine.plan.warnings if "head.aux" in line]


def test_it_begins_with_the_first_phase_that_trains_something_before_it(recipe: Path) -> None:
    mine = training(recipe, BOTH, "freeze={backbone={epochs=1}}", "schedule.epochs=3")
    assert [dict(phase.aux_heads) for phase in mine.plan.phases] == [{}, {"aux": 0.4}]
    (choice,) = (choice for choice in mine.plan.choices if choice.what == "aux")
    assert (choice.value, choice.reason) == ("runs from epoch 2", "before that, nothing trains at or before block1")
    before, epochs = aux_tensors(mine), mine.fit.epochs()
    assert "aux_loss" not in next(epochs).train
    assert same(aux_tensors(mine), before)
    assert next(epochs).train["aux_loss"] > 0
    assert not any(torch.equal(before[name], tensor) for name, tensor in aux_tensors(mine).items())


def test_a_frozen_one_still_teaches_what_lies_before_it(recipe: Path) -> None:
    frozen = training(recipe, BOTH, 'freeze={"head.aux"=true}')
    without = training(recipe, BOTH, "head.aux_weight=0.0")
    before = aux_tensors(frozen)
    assert list(frozen.fit.epochs())[-1].train["aux_loss"] > 0
    list(without.fit.epochs())
    assert same(aux_tensors(frozen), before)
    assert not torch.equal(frozen.network.tensors()["conv1.weight"], without.network.tensors()["conv1.weight"])
    assert "frozen with random weights: head.aux; they will never learn anything" in frozen.plan.warnings


def test_its_rate_is_the_heads_unless_it_has_one(recipe: Path) -> None:
    shared = training(recipe, BOTH).plan
    own = training(recipe, 'lr_groups={backbone=0.05, head=0.1, "head.aux"=0.2}').plan
    part = training(recipe, 'lr_groups={backbone=0.05, head=0.1, "aux.fc"=0.3}').plan
    assert {p.group for p in shared.parameters if p.stage == "head.aux"} == {"head"}
    assert {p.group for p in own.parameters if p.stage == "head.aux"} == {"head.aux"}
    assert {p.name: p.group for p in part.parameters if p.stage == "head.aux"} == {
        "aux.conv.weight": "head", "aux.bn.weight": "head", "aux.bn.bias": "head",
        "aux.fc.weight": "aux.fc", "aux.fc.bias": "aux.fc",
    }  # fmt: skip
    with pytest.raises(RecipeError, match=r"head\.aux trains but has no rate"):
        training(recipe, 'lr_groups={backbone=0.05, "head.weight"=0.1, "head.bias"=0.1}')


def test_a_weight_without_an_auxiliary_classifier_is_shown_as_unused(toy_recipe: Path) -> None:
    (plan,) = api.plan(toy_recipe, ["head.aux_weight=0.4"]).values()
    assert "head.aux_weight: toy has no auxiliary classifier" in plan.unused


def test_weights_keep_all_of_it_but_its_last_layer(recipe: Path, tmp_path: Path) -> None:
    library = ToyTapped(classes=9)
    save_file({name: tensor.clone() for name, tensor in library.state_dict().items()}, tmp_path / "nine.safetensors")
    mine = training(recipe, BOTH, f'backbone.weights="{tmp_path / "nine.safetensors"}"')
    own = mine.network.tensors()
    assert torch.equal(own["aux.conv.weight"], library.aux.conv.weight)
    assert own["aux.fc.weight"].shape == (4, 6)
    save_file(
        {name: tensor.clone() for name, tensor in library.state_dict().items() if name != "aux.conv.weight"},
        tmp_path / "part.safetensors",
    )
    with pytest.raises(WeightsError, match="does not fit toy_tapped") as error:
        training(recipe, BOTH, f'backbone.weights="{tmp_path / "part.safetensors"}"')
    assert "missing: aux.conv.weight" in str(error.value)


def test_a_run_is_exported_with_it_and_loads_into_the_library(recipe: Path) -> None:
    done = api.apply(recipe, [BOTH], runs=recipe.parent / "runs")
    folder = done.folder / done.result["arms"]["main"]["seeds"]["0"]["folder"]
    ToyTapped().load_state_dict(load_file(folder / "weights.safetensors"), strict=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(set(line["train"]) == {"loss", "accuracy", "aux_loss"} for line in lines)
    again = api.apply(recipe, [BOTH, f'backbone.weights="run:{folder}"', "name=again"], runs=recipe.parent / "runs")
    assert again.result["arms"]["main"]["seeds"]["0"]["status"] == "finished"


def test_arms_of_a_seed_begin_with_the_same_one(recipe: Path) -> None:
    whole, part = training(recipe, BOTH), training(recipe, BOTH, "freeze={backbone=true}")
    assert same(aux_tensors(whole), aux_tensors(part))
    assert not same(aux_tensors(whole), aux_tensors(training(recipe, BOTH, seed=1)))


def test_beside_a_head_of_pixels_none_runs_and_the_plan_says_why() -> None:
    aux_heads = AuxHeads(toy_tapped, (16, 16), None, pixels=True)
    assert aux_heads.usable == {}
    (choice,) = aux_heads.choices([])
    assert (choice.what, choice.value) == ("aux", "not run, not changed")
    assert choice.reason == "it answers for whole images, and the head for every pixel"


def test_a_tap_that_does_not_exist_is_named() -> None:
    aux_head = AuxHead(build="a:b", after="block9", classifier="fc", weight=0.4)
    with pytest.raises(PluginError, match="auxiliary head aux reads block9, which is no stage"):
        Backbone(build="a:c", stages={"stem": ("conv",)}, features=3, classifier="fc", aux_heads={"aux": aux_head})
