"""The losses of one batch of a step: of its images, of auxiliary classifiers, of a target's labelled images, and a process's part of them."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy_two_processes
from torch import Tensor
from torch.nn import functional
from toy_step import made
from toy_training import CPU

from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.kernels import function, functions
from tlkit.engine.ranks import whole_batch
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.ranks.shares import Composition, Whole, labelled_share
from tlkit.engine.step.counting import Counted
from tlkit.engine.step.losses import BatchLoss, Losses
from tlkit.network.network import Network
from tlkit.plans import adaptation
from tlkit.plans.plan import Plan
from tlkit.plans.unlabelled import ConfidentOptions
from tlkit.plugin import Adapter
from tlkit.recipe.domains import AdaptTable
from tlkit.record.formats import ComputeFormat

AUX = {"aux": 0.4}
WEIGHTS = (1.0, 2.0, 1.0, 0.5)
SMOOTHING = 0.1
SHARE = 0.25  # of labelled images of a target
Toy = tuple[Network, Plan]


@pytest.fixture
def toy(toy_recipe: Path) -> Toy:
    """A network with an auxiliary classifier, in which the logits of an image are its own, and its plan."""
    network, plan = made(toy_recipe, 'backbone.name="toy_tapped"', f"loss.label_smoothing={SMOOTHING}")
    with torch.no_grad():
        network.head.weight.normal_()
    return network.eval(), replace(plan, class_weights=WEIGHTS)


def adapting(network: Network, name: str) -> DomainLoss:
    if name == "two views":
        adapter = Adapter(loss="tlkit.engine.domains.confident:loss", together=True, second_view=True)
        method = adaptation.Adaptation(AdaptTable(target="other", method="none"), adapter, ConfidentOptions(threshold=0.5))
    else:
        method = adaptation.look_up(AdaptTable(target="other", method=name, weight=0.5))
    return DomainLoss(network, method, CPU, labelled=SHARE)


def drawn(images: int, labels: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(images, 3, 16, 16, generator=draw), torch.randint(4, (labels,), generator=draw)


def mean(logits: Tensor, y: Tensor) -> Tensor:
    """The loss in plain PyTorch."""
    return functional.cross_entropy(logits, y, torch.tensor(WEIGHTS), label_smoothing=SMOOTHING, reduction="sum") / len(y)


def of_method(domains: DomainLoss, x: Tensor, y: Tensor, whole: Composition) -> Tensor:
    """The loss of adaptation, one process alone; the labelled images are those with a target."""
    outputs = domains.forward(
        x, len(y), whole=whole, start=0, aux_heads=(), computing=nullcontext, seen=lambda _: nullcontext()
    )
    return domains(outputs, y[: whole.images], whole, ALONE)


def losses(toy: Toy, domains: DomainLoss | None = None, ranks: Ranks = ALONE) -> Losses:
    return Losses(*toy, CPU, ranks=ranks, domains=domains)


def of(
    mine: Losses, x: Tensor, y: Tensor, whole: Whole, *, number: int = 0, synced: bool = False, start: int = 0,
    aux_heads: Mapping[str, float] = AUX,
) -> BatchLoss:  # fmt: skip
    counted = Counted(whole.counts[number])
    return mine.of((x, y), whole, number, counted, synced=synced, start=start, aux_heads=aux_heads)


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("start", [0, 1])
def test_a_batch_has_its_share_of_the_steps_images_and_auxiliary_classifiers_have_their_weight(toy: Toy, start: int) -> None:
    network, _ = toy
    (x, y), whole = drawn(5, 5), Whole((3, 5), (3, 5))
    given = network.run(x, stop=start)
    mine = losses(toy)
    found = mine.of(
        (given, y), whole, 1, mine.counted([(x[:3], y[:3]), (x, y)], whole)[1], synced=False, start=start, aux_heads=AUX
    )
    logits, aux_logits = network.forward_with_aux(x, aux_heads=("aux",))
    loss, beside = mean(logits, y), mean(aux_logits["aux"], y)
    total = loss + 0.4 * beside
    assert_close(vars(found), {"loss": loss, "total": total, "part": total * 5 / 8, "logits": logits, "targets": y})
    assert_close({"aux": found.aux[0]}, {"aux": beside.detach()})
    assert not found.aux[0].requires_grad
    alone = of(mine, given, y, Whole((5,), (5,)), start=start, aux_heads={})
    assert_close(vars(alone), {"loss": loss, "total": loss})
    assert alone.part is alone.total, "a batch that is the whole step needs no operator for its share"


@pytest.mark.parametrize("name", ["mcc", "mmd"])
def test_labelled_images_of_a_target_and_a_method_are_added_to_the_loss_of_the_source(toy: Toy, name: str) -> None:
    """Five images of the source, two labelled ones of the target and five without labels; three images are in another batch."""
    network, _ = toy
    (x, y), whole = drawn(12, 7), Whole((3, 5), (3, 5), (1, 2))
    domains = adapting(network, name)
    mine = losses(toy, domains)
    mine.set_ramp_(0.5)
    found = of(mine, x, y, whole, number=1)
    logits, aux_logits = network.forward_with_aux(x, aux_heads=("aux",))
    loss, few, beside, few_beside = (
        mean(each[at], y[at]) for each in (logits, aux_logits["aux"]) for at in (slice(5), slice(5, 7))
    )
    adapted = of_method(domains, x, y, Composition(5, 2, 5))
    total = 0.75 * loss + 0.25 * few + 0.4 * (0.75 * beside + 0.25 * few_beside) + adapted
    assert_close(vars(found), {"loss": loss, "total": total, "part": total * 5 / 8, "logits": logits[:5], "targets": y[:5]})
    assert_close({"aux": found.aux[0]}, {"aux": beside.detach()})
    assert float(adapted.detach()) != 0
    mine.set_ramp_(1.0)
    assert_close({"method": of_method(domains, x, y, Composition(5, 2, 5))}, {"method": 2 * adapted})
    losses(toy).set_ramp_(0.5)  # nothing is adapted


def test_a_source_free_method_has_no_other_loss(toy: Toy) -> None:
    domains = adapting(toy[0], "shot")
    x, y = drawn(5, 5)
    found = of(losses(toy, domains), x, y, Whole((3, 5), (3, 5)), number=1, aux_heads={})
    adapted = of_method(domains, x, y, Composition(5))
    assert_close(vars(found), {"loss": adapted, "total": adapted, "part": adapted * 5 / 8})
    parts = toy_two_processes.both(
        lambda mine, ranks: of(losses(toy, domains, ranks), x[mine], y[mine], Whole((5,), (len(mine),)), aux_heads={})
    )
    for part in parts:
        assert_close(vars(part), {"loss": adapted, "part": adapted / 2})  # each has half of a loss over the images of both


@pytest.mark.parametrize("labelled", [1, 2])
@pytest.mark.parametrize("name", ["mcc", "none"])
def test_what_two_processes_have_of_a_batch_adds_up_to_its_loss(toy: Toy, name: str, labelled: int) -> None:
    """One process has three of five images of each domain, the other two; the only labelled image of a target is with the first."""
    domains = adapting(toy[0], name)
    unlabelled = 5 if name == "mcc" else 0
    x, y = drawn(5 + labelled + unlabelled, 5 + labelled)

    def part(mine: list[int], ranks: Ranks) -> Tensor:
        share = labelled_share(labelled, ranks.rank, ranks.size)
        with_targets = [*mine, *range(5 + share.start, 5 + share.stop)]
        places = [*with_targets, *(5 + labelled + place for place in mine if unlabelled)]
        whole = Whole((5,), (len(mine),), (labelled,))
        return of(losses(toy, domains, ranks), x[places], y[with_targets], whole).part.detach()

    alone = of(losses(toy, domains), x, y, Whole((5,), (5,), (labelled,)))
    assert_close({"part": sum(toy_two_processes.both(part))}, {"part": alone.total.detach()})


def test_an_image_that_another_process_counts_stands_in_beside_a_labelled_one(toy: Toy) -> None:
    """One image of the source for two processes: this one passes it and counts it 0, and has the labelled image of the target."""
    network, _ = toy
    x, y = drawn(2, 2)
    ranks = toy_two_processes.Remembering(rank=0)
    found = of(losses(toy, adapting(network, "none"), ranks), x, y, Whole((1,), (0,), (1,)), aux_heads={})
    logits = network(x)
    total = 0.75 * mean(logits[:1], y[:1]) + 0.25 * mean(logits[1:], y[1:])
    assert_close(vars(found), {"total": total, "part": 0 * total, "logits": logits[:1], "targets": y[:1]})


# The method -> what its parts of a batch are made of
@pytest.mark.parametrize(
    ("name", "images", "seen"),
    [
        (None, 5, [Composition(5)]),
        ("none", 7, [Composition(5, 2)] * 2),
        ("mcc", 12, [Composition(5, 2), Composition(0, unlabelled=5), Composition(5, 2, 5)]),
        ("two views", 17, [Composition(5, 2, 5, 2)] * 2),
    ],
)
def test_the_network_runs_in_the_form_of_the_plan_and_knows_the_whole_batch(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, name: str | None, images: int, seen: list[Composition]
) -> None:
    network, plan = toy
    plan = replace(plan, compute_format=ComputeFormat("bfloat16", "channels_last"))
    calls: list[object] = []

    def told(ranks: Ranks, batch: Composition, *, synced: bool) -> nullcontext[None]:
        calls.append((ranks, batch, synced))
        return nullcontext()

    def faster(device: torch.device, *, conv2d: object = None) -> nullcontext[None]:
        kernels.append((device, conv2d))
        return nullcontext()

    kernels: list[object] = []
    inputs: list[Tensor] = []
    monkeypatch.setattr(whole_batch, "seen", told)
    monkeypatch.setattr(functions, "faster", faster)
    monkeypatch.setattr(function, "conv2d", lambda kernels: ("a kernel of", kernels))
    network.stages["stem"].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    network.stages["block1"].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    domains = None if name is None else adapting(network, name)
    x, y = drawn(images, 7 if name else 5)
    found = of(losses((network, plan), domains), x, y, Whole((3, 5), (3, 5), (1, 2) if name else ()), number=1, synced=True)
    assert calls == [(ALONE, each, True) for each in seen]
    assert kernels == [(CPU, ("a kernel of", plan.kernels))]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in inputs)
    assert [each.dtype for each in inputs[:2]] == [torch.float32, torch.bfloat16]
    assert (found.logits.dtype, found.aux[0].dtype) == (torch.float32, torch.float32)
