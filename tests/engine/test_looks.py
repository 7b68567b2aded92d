"""The loss so far is shown without waiting for the device that computes it."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from toy_step import made, train
from toy_training import CPU

from tlkit.engine.step.look import LooksAtOnce, LooksLater
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
    assert seen is not None
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
    assert seen is not None
    assert seen.bad
    later.forget()
    assert mark.waited == 1
    assert later.look(1) is None
