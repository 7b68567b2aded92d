"""The loss so far is shown without waiting for the device that computes it."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from toy_step import made, train
from toy_training import CPU

from tlkit.engine.step.look import LooksAtOnce, LooksLater, Seen, looks
from tlkit.engine.step.step import Step


@dataclass
class Marks:
    """Events that happen when a test says so."""

    done: bool = True
    waited: int = 0
    made: list["Marks"] = field(default_factory=list)

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.waited += 1


def stepping(recipe: Path) -> Step:
    network, plan = made(recipe)
    step = Step(network, plan, CPU, static=True)
    step.begin_(1)
    return step


def test_a_look_sees_what_the_one_before_asked_for(toy_recipe: Path) -> None:
    step, mark = stepping(toy_recipe), Marks()
    now, later = LooksAtOnce(step), LooksLater(step, torch.empty(2, dtype=torch.float64), lambda: mark)
    train(step, steps=2)
    first = now.look(2)
    assert later.look(2) is None
    train(step, steps=1, first=2)
    assert later.look(3) == first
    assert now.look(3).loss > first.loss
    assert not mark.waited


def test_a_copy_that_is_not_done_is_asked_for_again_and_not_waited_for(toy_recipe: Path) -> None:
    step, mark = stepping(toy_recipe), Marks(done=False)
    later = LooksLater(step, torch.empty(2, dtype=torch.float64), lambda: mark)
    train(step, steps=1)
    assert later.look(1) is None
    train(step, steps=1, first=1)
    assert later.look(2) is None
    mark.done = True
    seen = later.look(3)
    assert seen.steps == 1
    assert not mark.waited


def test_a_loss_that_is_no_number_is_seen_one_look_later(toy_recipe: Path) -> None:
    step, mark = stepping(toy_recipe), Marks()
    later = LooksLater(step, torch.empty(2, dtype=torch.float64), lambda: mark)
    with torch.no_grad():
        step.network.head.weight.fill_(float("nan"))
    train(step, steps=1)
    assert later.look(1) is None
    seen = later.look(2)
    assert seen.bad
    later.forget()
    assert mark.waited == 1
    assert later.look(1) is None


def test_the_first_batch_of_an_epoch_may_be_the_bad_one_and_a_new_epoch_waits_for_no_look(toy_recipe: Path) -> None:
    step = stepping(toy_recipe)
    with torch.no_grad():
        step.network.head.weight.fill_(float("nan"))
    train(step, steps=1)
    assert (step.sums().bad, LooksAtOnce(step).look(1).bad) == (0, True)
    later = LooksLater(step, torch.empty(2, dtype=torch.float64), Marks)
    later.forget()
    assert later.look(1) is None


class Told:
    """Stands in for a step: the loss so far and the first bad batch, as they are told."""

    def __init__(self, *values: float) -> None:
        self.values = [torch.tensor([value, -1.0], dtype=torch.float64) for value in values]

    def so_far(self) -> torch.Tensor:
        return self.values.pop(0)


def test_a_gpus_looks_go_to_pinned_memory_and_are_done_when_its_stream_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for torch.cuda: the copies, in their order, and what was recorded."""
    device, calls, empty, copy = torch.device("cuda:1"), [], torch.empty, torch.Tensor.copy_

    class Event(Marks):
        def record(self, stream: str) -> None:
            calls.append(f"record on {stream}")

    def pinned(*shape: int, pin_memory: bool, **more: torch.dtype) -> torch.Tensor:
        calls.append(f"pinned: {pin_memory}")
        return empty(*shape, **more)

    def copied(self: torch.Tensor, source: torch.Tensor, *, non_blocking: bool = False) -> torch.Tensor:
        calls.append(f"copy, non-blocking: {non_blocking}")
        return copy(self, source)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.Tensor, "copy_", copied)
    later = looks(Told(0.1, 0.3), device)
    assert (later.look(5), later.look(6)) == (None, Seen(5, 0.1, False)), "float64: 0.1 is not rounded"
    assert calls == ["pinned: True", *["copy, non-blocking: True", "record on the stream of cuda:1"] * 2]
    assert looks(Told(2.0), CPU).look(3) == Seen(3, 2.0, False)
