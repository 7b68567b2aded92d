"""What only a CUDA device can show: a replayed graph trains as the steps that it replaces."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_step import LATE_STEM, Taking, batch, copies, group, made, still, table

from tlkit.engine.step.graph import Captured, CudaBackend
from tlkit.engine.step.step import Step
from tlkit.network.network import Network
from tlkit.plans.plan import Plan
from tlkit.plans.schedule import factor
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # torch says so once in a process, at the first set_sync_debug_mode.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning"),
]

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Full float32 and the same cuDNN kernels at every call, so that two runs can be compared."""
    for name, value in (("deterministic", True), ("benchmark", False), ("allow_tf32", False)):
        monkeypatch.setattr(torch.backends.cudnn, name, value)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()


def on_cuda(recipe: Path, *settings: str, compute_format: ComputeFormat = PLAIN_FORMAT) -> tuple[Network, Plan]:
    network, plan = made(recipe, *settings, compute_format=compute_format)
    return network.to(CUDA), plan


def capturing(network: Network, plan: Plan) -> Captured:
    def note(text: str) -> None:
        raise AssertionError(text)

    return Captured(Step(network, plan, CUDA), CudaBackend(CUDA), note=note)


def train(step: Taking, epochs: Iterator[int] | range, *, steps: int = 8) -> None:
    """Epochs of full groups and a short last batch, at the rates of the plan's schedule."""
    whole = step.step if isinstance(step, Captured) else step
    network, plan = whole.network, whole.plan
    for epoch in epochs:
        step.begin_(epoch)
        for at in range(steps):
            taken = (epoch - 1) * plan.steps_per_epoch + at % plan.steps_per_epoch
            whole.set_rates_(factor(taken, schedule=plan.tables.schedule, steps_per_epoch=plan.steps_per_epoch))
            step(group(network, plan, epoch, seed=100 * epoch + at))
        step([batch(network, plan, epoch, images=8, seed=epoch)])


@pytest.mark.parametrize("compute_format", [PLAIN_FORMAT, ComputeFormat("bfloat16", "channels_last")], ids=str)
@pytest.mark.parametrize("more", [(), ("clip_norm=0.1", "ema=0.99", "accumulate=2")], ids=["plain", "all"])
@pytest.mark.parametrize("phases", [(), (LATE_STEM,)], ids=["one phase", "two phases"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_replay_equals_eager(
    toy_recipe: Path,
    optimizer: str,
    schedule: str,
    phases: tuple[str, ...],
    more: tuple[str, ...],
    compute_format: ComputeFormat,
) -> None:
    settings = (table(optimizer, *more), f'schedule={{name="{schedule}", epochs=2}}', *phases)
    network, plan = on_cuda(toy_recipe, *settings, compute_format=compute_format)
    still(network)
    eager, captured = Step(copy.deepcopy(network), plan, CUDA), capturing(network, plan)
    for step in (eager, captured):
        train(step, range(1, 3))
    assert captured.captured
    # cuBLAS promises the same bits only while one stream is in use (cuBLAS guide, "Results Reproducibility").
    mine, theirs = copies(captured.step), copies(eager)
    if compute_format == PLAIN_FORMAT:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(mine, theirs, rtol=2e-2, atol=2e-2)
    assert captured.step.sums().loss == pytest.approx(eager.sums().loss, rel=1e-3)
    assert captured.step.sums().bad == -1
    captured.release()


def warmed(recipe: Path, *settings: str) -> Captured:
    """A step whose graph is captured, at a rate of zero."""
    captured = capturing(*on_cuda(recipe, *settings))
    captured.begin_(1)
    captured.step.set_rates_(0.0)
    for at in range(4):
        captured(group(captured.step.network, captured.step.plan, seed=at))
    assert captured.captured
    return captured


@pytest.mark.parametrize("optimizer", ["plain sgd", "adamw"])
def test_a_new_rate_reaches_the_replays(toy_recipe: Path, optimizer: str) -> None:
    captured = warmed(toy_recipe, table(optimizer))
    weight = captured.step.network.head.weight
    batches = group(captured.step.network, captured.step.plan)
    moved = []
    for rate in (0.0, 1.0, 0.0, 0.5):
        captured.step.set_rates_(rate)
        before = weight.detach().clone()
        captured(batches)
        moved.append(float((weight - before).detach().abs().max()))
    assert moved[0] == moved[2] == 0
    assert moved[1] > moved[3] > 0


def test_dropout_draws_anew_at_every_replay(toy_recipe: Path) -> None:
    captured = warmed(toy_recipe, "freeze={backbone=true}", "head.options.dropout=0.5")
    batches = group(captured.step.network, captured.step.plan)
    losses = []
    for _ in range(4):  # at a rate of zero only the draws differ
        before = captured.step.sums().loss
        captured(batches)
        losses.append(captured.step.sums().loss - before)
    assert len({round(loss, 4) for loss in losses}) == len(losses)


def test_replays_take_no_more_memory(toy_recipe: Path) -> None:
    captured = warmed(toy_recipe, table("adamw", "ema=0.99"))
    batches = group(captured.step.network, captured.step.plan)
    for _ in range(10):
        captured(batches)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for _ in range(200):
        captured(batches)
    torch.cuda.synchronize()
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before


def test_phases_take_no_more_memory(toy_recipe: Path) -> None:
    captured = capturing(*on_cuda(toy_recipe, table("adamw"), LATE_STEM))
    used = []
    for _ in range(6):
        train(captured, range(1, 3), steps=5)
        captured.release()
        captured._phase = None  # so that the phase is begun, and captured, again
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        used.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert len(set(used[1:])) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw"])
def test_no_step_waits_for_the_device(toy_recipe: Path, optimizer: str) -> None:
    """Real steps and replays under the driver's own watch, which raises at whatever synchronises."""
    network, plan = on_cuda(toy_recipe, table(optimizer, "clip_norm=0.1", "ema=0.99"))
    eager, captured = Step(copy.deepcopy(network), plan, CUDA), capturing(network, plan)
    for step, whole in ((eager, eager), (captured, captured.step)):
        step.begin_(1)
        batches = group(network, plan)
        for _ in range(4):
            step(batches)
        torch.cuda.set_sync_debug_mode("error")
        for rate in (1.0, 0.5):
            whole.set_rates_(rate)
            step(batches)
        torch.cuda.set_sync_debug_mode("default")


def test_a_capture_that_fails_trains_on_step_by_step(toy_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the device is no operator, so only the capture itself can find it."""
    network, plan = on_cuda(toy_recipe, table("adamw"), LATE_STEM, "head.options.dropout=0.5")
    notes: list[str] = []
    captured = Captured(Step(network, plan, CUDA), CudaBackend(CUDA), note=notes.append)
    stream = torch.cuda.current_stream()
    with monkeypatch.context() as patch:
        answer_of = type(network).answer_of

        def waiting(self: Network, carried: Any) -> Tensor:
            torch.cuda.synchronize()
            return answer_of(self, carried)

        patch.setattr(type(network), "answer_of", waiting)
        train(captured, range(1, 2))
    assert len(notes) == 1
    assert captured.reason is not None
    assert torch.cuda.current_stream() == stream
    assert captured.step.sums().bad == -1
    train(captured, range(2, 3))  # the next phase is captured, and dropout draws from a sound generator
    assert captured.captured
    assert len(notes) == 1
    captured.release()


def test_batches_gathered_on_the_device_train_as_those_of_the_host(toy_recipe: Path) -> None:
    """A data set that lies on the device as uint8, gathered by indices that are copied in."""
    network, plan = on_cuda(toy_recipe, table("sgd"))
    still(network)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (200, 16, 16, 3), generator=draw, dtype=torch.uint8)
    labels = torch.randint(plan.classes, (200,), generator=draw)
    order = torch.randperm(200, generator=draw)[:128].view(8, 16)

    def normalised(pictures: Tensor) -> Tensor:
        return pictures.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)

    held, held_labels = pixels.to(CUDA), labels.to(CUDA)
    assert torch.equal(held[order[0].to(CUDA)].cpu(), pixels[order[0]])
    captured, eager = capturing(copy.deepcopy(network), plan), Step(network, plan, CUDA)
    for step in (captured, eager):
        step.begin_(1)
    for at, chosen in enumerate(order):
        there = chosen.pin_memory()
        torch.cuda.set_sync_debug_mode("error" if at > 3 else "default")  # from the first replay on
        index = there.to(CUDA, non_blocking=True)
        captured([(normalised(held[index]), held_labels[index])])
        torch.cuda.set_sync_debug_mode("default")
        eager([(normalised(pixels[chosen]).to(CUDA), labels[chosen].to(CUDA))])
    torch.testing.assert_close(copies(captured.step), copies(eager), rtol=1e-4, atol=1e-5)
    captured.release()
