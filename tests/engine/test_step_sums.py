"""What the steps of an epoch add up to: loss, correct images, the first bad batch and its gradients' norms."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_step import batch, made, still, table, train
from toy_training import CPU

from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.network.network import Network


def grads_by_hand(network: Network, batches: list[Batch]) -> dict[str, Tensor]:
    """Gradients of the mean loss in plain PyTorch, by parameter."""
    twin = copy.deepcopy(network)
    twin.zero_grad()
    images = sum(len(t) for _, t in batches)
    for x, targets in batches:
        (nn.functional.cross_entropy(twin(x), targets) * (len(targets) / images)).backward()
    return {name: tensor.grad for name, tensor in twin.named_parameters()}


def norm_of(grads: dict[str, Tensor], *prefixes: str) -> float:
    chosen = [grad.flatten().double() for name, grad in grads.items() if name.startswith(prefixes)]
    return float(torch.cat(chosen).norm())


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("clip", [(), ("clip_norm=1e-3",)], ids=["free", "clipped"])
def test_the_norms_are_those_of_the_first_bad_step(toy_recipe: Path, static: bool, clip: tuple[str, ...]) -> None:
    """An infinite bias makes the loss infinite and leaves the backbone's gradients finite."""
    network, plan = made(toy_recipe, table("plain sgd", *clip))
    still(network)
    step = Step(network, plan, CPU, static=static)
    step.begin_(1)
    train(step, steps=2)
    assert (step.sums().bad, dict(step.sums().norms)) == (-1, {})
    with torch.no_grad():
        network.head.bias[0] = -math.inf
    x, labels = batch(network, plan)
    labels[:] = torch.where(torch.arange(16) < 4, 0, labels)
    expected = grads_by_hand(network, [(x, labels)])
    step([(x, labels)])
    found = step.sums()
    assert found.bad == 2
    assert found.norms == pytest.approx(
        {"backbone": norm_of(expected, "stages."), "head": norm_of(expected, "head.")}, rel=1e-5, nan_ok=True
    )
    assert 0 < found.norms["backbone"] < math.inf
    train(step, steps=2)
    assert (step.sums().bad, dict(step.sums().norms)) == (2, pytest.approx(dict(found.norms), nan_ok=True))
    step.begin_(1)
    assert (step.sums().bad, dict(step.sums().norms)) == (-1, {})


def test_groups_that_do_not_train_have_no_norm(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, "freeze={backbone={epochs=1}}")
    step = Step(network, plan, CPU)
    step.begin_(1)
    x, labels = batch(network, plan)
    step([(x * math.nan, labels)])
    assert set(step.sums().norms) == {"head"}


def test_soft_targets_count_where_the_largest_logit_is_at_the_largest_target(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, "freeze={backbone=true}", "loss.label_smoothing=0.1")
    step = Step(network, plan, CPU)
    step.begin_(1)
    x, targets = batch(network, plan, images=40, soft=True)
    with torch.no_grad():
        logits = network.head(x.mean((2, 3)))
    step([(x, targets)])
    smooth = 0.9 * targets + 0.1 / plan.classes
    assert step.sums().loss == pytest.approx(float(-(smooth * logits.log_softmax(1)).sum()), rel=1e-5)
    assert step.sums().correct == int((logits.argmax(1) == targets.argmax(1)).sum())


def test_one_hot_targets_train_as_their_labels(toy_recipe: Path) -> None:
    networks = []
    for soft in (False, True):
        network, plan = made(toy_recipe, "freeze={backbone=true}")
        step = Step(network, plan, CPU)
        step.begin_(1)
        x, labels = batch(network, plan)
        step([(x, nn.functional.one_hot(labels, plan.classes).float() if soft else labels)])
        networks.append(network)
    torch.testing.assert_close(networks[1].tensors(), networks[0].tensors())


def test_pooled_features_train_the_head(toy_recipe: Path) -> None:
    heads = []
    for pooled in (False, True):
        network, plan = made(toy_recipe, "freeze={backbone=true}")
        step = Step(network, plan, CPU)
        step.begin_(1)
        x, labels = batch(network, plan)
        assert x.ndim == 4
        step([(x.mean((2, 3)) if pooled else x, labels)])
        heads.append(network.head.weight.detach().clone())
    torch.testing.assert_close(heads[1], heads[0])
