"""What a step answers, sums, shares with other processes, and keeps between epochs."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy_two_processes
from torch import Tensor
from toy_step import LATE_STEM, batch, copies, made, still, table, train
from toy_training import CPU

from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.ranks import shares, whole_batch
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.ranks.reduction import Reduction
from tlkit.engine.ranks.shares import Whole
from tlkit.engine.step.step import Step
from tlkit.plans import adaptation, sharing
from tlkit.plans.plan import Plan
from tlkit.recipe.domains import AdaptTable
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat

HALF = ComputeFormat("bfloat16", "channels_last")


def begun(recipe: Path, *settings: str, compute_format: ComputeFormat = PLAIN_FORMAT, **more: object) -> Step:
    network, plan = made(recipe, *settings, compute_format=compute_format)
    still(network)
    step = Step(network, replace(plan, **more), CPU)
    step.begin_(1)
    return step


def test_pooled_features_are_computed_in_the_format_of_the_step(toy_recipe: Path) -> None:
    step = begun(toy_recipe, "freeze.stem=true", compute_format=HALF)
    network, (x, _) = step.network.eval(), batch(step.network, step.plan)
    seen: list[Tensor] = []
    network.stages["block1"].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = network.run(x, start=1).mean((2, 3))
    with torch.no_grad():
        found = step.features(x.contiguous())
    assert seen[-1].is_contiguous(memory_format=torch.channels_last)
    assert (found.dtype, expected.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(found, expected.float())


def test_before_its_first_phase_a_step_has_no_sums(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe, "freeze.stem=true")
    sums = Step(network, plan, CPU).sums()
    assert (sums.predictions, sums.aux_loss) == (0, None)


def test_rates_are_the_groups_times_the_factor_and_0_until_one_is_chosen(toy_recipe: Path) -> None:
    step = begun(toy_recipe)
    step.set_rates_(0.25)
    assert {name: float(rate) for name, rate in step.rates.items()} == pytest.approx({"backbone": 3e-3 / 4, "head": 2e-2 / 4})
    step.plan = replace(step.plan, groups=tuple(replace(group, lr=None) for group in step.plan.groups))
    step.set_rates_(0.25)
    assert [float(rate) for rate in step.rates.values()] == [0.0, 0.0]


@pytest.mark.parametrize("running", [False, True])
def test_a_phase_drops_the_gradients_of_the_last_and_norms_run_in_the_mode_of_the_recipe(
    toy_recipe: Path, running: bool
) -> None:
    step = begun(toy_recipe, "freeze={block1={epochs=1}}", f'backbone.batch_norm="{"running" if running else "local"}"')
    norms = {
        name: stage[1]
        for name, stage in (("block1", step.network.stages["block1"].block1), ("block2", step.network.stages["block2"].block2))
    }
    train(step, steps=1)
    assert [norm.training for norm in norms.values()] == [False, not running]
    step.begin_(2)
    assert [norm.training for norm in norms.values()] == [not running] * 2
    assert all(parameter.grad is None for parameter in step.network.parameters())


def test_auxiliary_losses_are_summed_where_classifiers_run(toy_recipe: Path) -> None:
    step, plain = begun(toy_recipe, 'backbone.name="toy_tapped"'), begun(toy_recipe)
    network, (x, y) = copy.deepcopy(step.network), batch(step.network, step.plan)
    shared = Step(copy.deepcopy(network), step.plan, CPU, ranks=toy_two_processes.Remembering())
    shared.begin_(1)
    for each in (step, plain, shared):
        each([(x, y)])
    logits, aux_logits = network.forward_with_aux(x, aux_heads=("aux",))
    found = step.sums()
    cross_entropy = torch.nn.functional.cross_entropy
    assert found.loss == pytest.approx(16 * float(cross_entropy(logits, y).detach()), rel=1e-5)
    assert found.aux_loss == pytest.approx(16 * float(cross_entropy(aux_logits["aux"], y).detach()), rel=1e-5)
    assert shared.sums().aux_loss == pytest.approx(found.aux_loss, rel=1e-5)
    assert plain.sums().aux_loss is None
    assert step.so_far().tolist() == [found.loss, -1.0]


def test_the_ramp_of_adaptation_reaches_the_method(toy_recipe: Path) -> None:
    network, plan = made(toy_recipe)
    domains = DomainLoss(network, adaptation.look_up(AdaptTable(target="other", method="mcc")), CPU)
    step = Step(network, plan, CPU, domains=domains)
    step.begin_(1)
    x, y = batch(network, plan)
    for ramp in (0.0, 1.0):
        step.set_ramp_(ramp)
        torch.manual_seed(0)  # dropout
        found = step._losses.of(
            (torch.cat([x, x]), y), Whole((16,), (16,)), 0, step._losses.counted([(x, y)], Whole((16,), (16,)))[0],
            synced=False, start=0, aux_heads={},
        )  # fmt: skip
        assert (float(found.total.detach()) > float(found.loss.detach())) == bool(ramp)


def test_two_processes_take_the_step_of_one_and_count_no_image_twice(toy_recipe: Path) -> None:
    """Three steps of a batch of five images and one of one image, which the second process passes and counts 0."""
    settings = (
        'backbone.name="toy_tapped"', 'backbone.batch_norm="running"', table("sgd", "accumulate=2", "clip_norm=0.5"), LATE_STEM,
    )  # fmt: skip

    def make(ranks: Ranks) -> Step:
        network, plan = made(toy_recipe, *settings)
        still(network)
        step = Step(network, plan, CPU, ranks=ranks)
        step.begin_(1)
        step.set_rates_(1.0)
        return step

    def take(step: Step, ranks: Ranks) -> None:
        for seed in range(3):
            own = []
            for images in (5, 1):
                x, y = batch(step.network, step.plan, images=images, seed=10 * seed + images)
                mine = shares.share(images, ranks.rank, ranks.size)
                own.append((x[mine.start : mine.stop], y[mine.start : mine.stop]))
            step(own, shares.whole((5, 1), ranks.rank, ranks.size))

    alone = make(ALONE)
    take(alone, alone.ranks)
    expected = alone.sums()
    assert (expected.predictions, alone._reduction) == (18, None)
    for step in toy_two_processes.at_once(make, take):
        found = step.sums()
        assert (found.loss, found.aux_loss) == pytest.approx((expected.loss, expected.aux_loss), rel=1e-5)
        assert (found.correct, found.predictions, found.bad) == (expected.correct, expected.predictions, -1)
        torch.testing.assert_close(copies(step), copies(alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("second", [16, 8])
def test_batch_norm_is_over_all_processes_batch_by_batch_as_the_plan_says(
    toy_recipe: Path, second: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, plan = made(toy_recipe, table("sgd", "accumulate=2"))
    step = Step(network, plan, CPU, ranks=toy_two_processes.Remembering())
    step.begin_(1)
    told: list[object] = []

    def synced(asked: Plan, images: int) -> bool:
        return asked is plan and images == 16

    def seen(ranks: Ranks, batch: object, *, synced: bool) -> nullcontext[None]:
        told.append(synced)
        return nullcontext()

    reduce = Reduction.sum_

    def sum_(self: Reduction, whole: Whole, *, synced: bool) -> object:
        told.append(("running statistics", synced))
        return reduce(self, whole, synced=synced)

    monkeypatch.setattr(sharing, "synced", synced)
    monkeypatch.setattr(whole_batch, "seen", seen)
    monkeypatch.setattr(Reduction, "sum_", sum_)
    step([batch(network, plan, images=8), batch(network, plan, images=second // 2)], Whole((16, second), (8, second // 2)))
    assert told == [True, second == 16, ("running statistics", second == 16)]


def test_an_epoch_goes_on_from_its_sums(toy_recipe: Path) -> None:
    step = begun(toy_recipe, compute_format=ComputeFormat("float16"))
    train(step, steps=2)
    step._loss_scale._scale.fill_(2.0**120)  # what overflows is skipped
    train(step, steps=1, first=2)
    saved = {name: tensor.clone() for name, tensor in step.epoch_state().items()}
    assert not saved.keys() & step.state().keys()
    later = begun(toy_recipe, compute_format=ComputeFormat("float16"))
    later.load_epoch_state_({})
    assert (later.sums().predictions, later.skipped()) == (0, 0)
    later.load_epoch_state_(saved)
    assert (later.sums(), later.skipped()) == (step.sums(), 1)
    with pytest.raises(KeyError):
        later.load_epoch_state_({name: tensor for name, tensor in saved.items() if "correct" not in name})
    plain = begun(toy_recipe)
    plain.load_epoch_state_(plain.epoch_state())
    assert plain.skipped() == 0


def test_the_optimizers_state_is_loaded_alone_and_a_mean_begins_with_weights_that_are_set(toy_recipe: Path) -> None:
    step, later = (begun(toy_recipe, table("adamw", "ema=0.9")) for _ in range(2))
    train(step, steps=2)
    before, saved = copies(later), copies(step)
    later.load_optimizer_(saved)
    found = later.state()
    assert found.keys() == step.state().keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, (saved if name.startswith("optimizer/") else before)[name]), name
    step.weights_are_set_()
    means = step.state()
    assert means["ema/updates"] == 0
    for name, tensor in step.network.tensors().items():
        assert not tensor.is_floating_point() or torch.equal(means[f"ema/{name}"], tensor)
    begun(toy_recipe).weights_are_set_()  # no mean
