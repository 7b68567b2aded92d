"""Features of several stages in the training step of domain adaptation, against plain PyTorch and loops in numpy."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import toy_two_processes
from numpy.typing import NDArray
from tlkit_toy import toy
from torch import Tensor

from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.ranks.shares import Composition
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.plans import adaptation, compared_stages
from tlkit.plans.adaptation import Adaptation
from tlkit.plugin import Adapter, DomainBatch, Head, registry
from tlkit.recipe.domains import AdaptTable
from tlkit_heads import LinearOptions

CPU, STAGES = torch.device("cpu"), tuple(toy.stages)
POWERS = (-2, -1, 0, 1, 2)


def mmd(*stages: str) -> Adaptation:
    return adaptation.look_up(AdaptTable(target="other", method="mmd", ramp=False, options={"stages": list(stages)}))


def network(found: Adaptation) -> Network:
    made = building.build(
        toy, registry.get(Head, "linear"), classes=3, backbone_options=None, head_options=LinearOptions(), seed=1,
        compared=compared_stages.numbers(found, STAGES),
    )  # fmt: skip
    made.stages["block2"].block2[3].p = 0.0  # dropout
    return made.train()


def of_method(made: Network, found: Adaptation, x: Tensor, y: Tensor, *, start: int = 0) -> Tensor:
    domains = DomainLoss(made, found, CPU)
    whole = Composition(len(y), unlabelled=len(y), views=max(domains.beside, 1))
    outputs = domains.forward(
        x, len(y), whole=whole, start=start, aux_heads=(), computing=nullcontext, seen=lambda _: nullcontext()
    )
    return domains(outputs, y, whole, ALONE)


def images(count: int, dark: int) -> Tensor:
    """So many pictures (count, 3, 16, 16) of noise, the last ones dark, so that domains are well apart."""
    x = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x[-dark:] *= 0.3
    return x


def means(made: Network, x: Tensor) -> list[Tensor]:
    """Every stage's output by plain calls, averaged over the picture."""
    found = []
    for stage in made.stages.values():
        x = stage(x)
        found.append(x.mean((2, 3)))
    return found


def discrepancy(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """MMD^2 by loops in float64, as `tlkit_adapters.mmd` states it."""
    both = np.concatenate([x, y])
    width = np.mean([((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j])

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return sum(math.exp(-((a - b) ** 2).sum() / (2.0**power * width)) for power in POWERS) / len(POWERS)

    def among(z: NDArray[np.float64]) -> float:
        return float(np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]))

    return among(x) + among(y) - 2 * float(np.mean([kernel(a, b) for a in x for b in y]))


@pytest.mark.parametrize("stages", [("stem", "block1", "block2"), ("block2", "stem"), ("block1",), ()])
def test_mmd_of_several_stages_is_the_sum_of_their_discrepancies(stages: tuple[str, ...]) -> None:
    found = mmd(*stages)
    made, x, y = network(found), images(10, 5), torch.tensor([0, 1, 2, 1, 0])
    loss = of_method(made, found, x, y)
    by_stage = dict(zip(STAGES, means(made, x), strict=True))
    expected = 0.0
    for name in stages or ("block2",):  # what the head reads
        values = by_stage[name].detach().double().numpy()
        expected += discrepancy(values[:5], values[5:])
    assert loss.item() == pytest.approx(expected, rel=1e-3)


def test_the_gradient_of_an_early_stage_does_not_pass_the_later_ones() -> None:
    found = mmd("stem")
    made = network(found)
    of_method(made, found, images(10, 5), torch.tensor([0, 1, 2, 1, 0])).backward()
    assert made.stages["stem"].conv1.weight.grad.abs().sum() > 0
    assert all(each.grad is None or not each.grad.any() for name, each in made.named_parameters() if "stem" not in name)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_cut_network_gives_the_loss_and_gradients_of_the_whole_one(cut: int) -> None:
    found = mmd("stem", "block1", "block2")
    made, x, y = network(found), images(10, 5), torch.tensor([0, 1, 2, 1, 0])
    for stage in list(made.stages.values())[:cut]:
        stage.eval().requires_grad_(False)
    whole = of_method(made, found, x, y)
    with torch.no_grad():
        prefix = made.run(x, stop=cut)
    after = of_method(made, found, prefix, y, start=cut)
    assert torch.equal(after, whole)
    trained = [each for each in made.stages.parameters() if each.requires_grad]
    if trained:
        pairs = (torch.autograd.grad(each, trained) for each in (after, whole))
        for mine, theirs in zip(*pairs, strict=True):
            assert torch.equal(mine, theirs)


def shapes(batch: DomainBatch[Tensor], options: None) -> Tensor:
    """A loss that says by its value whether each view's features are those of its images."""
    assert batch.second is not None
    assert list(batch.source_stages) == list(batch.target_stages) == list(batch.second_stages) == ["stem", "block2"]
    assert batch.source_stages["stem"].shape == (5, 8)
    parts = zip((1.0, 10.0, 100.0), (batch.source_stages, batch.target_stages, batch.second_stages), strict=True)
    return torch.stack([factor * each.square().mean() for factor, part in parts for each in part.values()]).sum()


@pytest.mark.parametrize("together", [True, False])
def test_two_views_of_every_stage_are_handed_over_apart_and_shared_by_processes(together: bool) -> None:
    adapter = Adapter(loss=f"{__name__}:shapes", together=together, second_view=True, stages=(-3, -1))
    found = Adaptation(AdaptTable(target="other", method="none", ramp=False), adapter, None)
    made, x, y = network(found).eval(), images(15, 10), torch.tensor([0, 1, 2, 1, 0])
    stem, _, block2 = (each.detach() for each in means(made, x))
    expected = sum(
        factor * each[5 * place : 5 * place + 5].square().mean()
        for place, factor in enumerate((1, 10, 100))
        for each in (stem, block2)
    )
    torch.testing.assert_close(of_method(made, found, x, y).detach(), expected)

    domains, whole = DomainLoss(made, found, CPU), Composition(5, unlabelled=5, views=2)

    def part(mine: list[int], ranks: Ranks) -> Tensor:
        outputs = domains.forward(
            x[[view * 5 + place for view in range(3) for place in mine]], len(mine), whole=whole, start=0, aux_heads=(),
            computing=nullcontext, seen=lambda _: nullcontext(),
        )  # fmt: skip
        loss = domains(outputs, y[mine], whole, ranks)
        return loss.detach()

    torch.testing.assert_close(sum(toy_two_processes.both(part)), expected)


def test_labelled_target_images_are_not_compared() -> None:
    """A batch of 4 source images, 2 labelled ones of the target and 4 without labels: the discrepancy is of the first and last 4."""
    found = mmd("stem")
    made, x, y = network(found).eval(), images(10, 4), torch.tensor([0, 1, 2, 1])
    domains, whole = DomainLoss(made, found, CPU), Composition(4, labelled=2, unlabelled=4)
    outputs = domains.forward(x, 6, whole=whole, start=0, aux_heads=(), computing=nullcontext, seen=lambda _: nullcontext())
    loss = domains(outputs, y, whole, ALONE)
    values = means(made, x)[0].detach().double().numpy()
    assert loss.item() == pytest.approx(discrepancy(values[:4], values[6:]), rel=1e-3)
