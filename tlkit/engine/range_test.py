"""Take training steps at rising learning rates, and keep the loss of each.

The rule: they are the steps of the plan, captured where the device can, on a copy of the network, with an optimizer of their own and
random draws of their own. So whatever happens in them, what the run begins from stays as it is, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tlkit.engine.images.parts import Evaluated, TrainingPart
from tlkit.engine.prefix.feed import Feed
from tlkit.engine.runtime import Runtime
from tlkit.engine.step.graph import Captured
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.network.network import Network
from tlkit.network.seeding import seeded
from tlkit.network.stages import copied
from tlkit.plans.batches import batches_per_epoch
from tlkit.plans.plan import PhasePlan, Plan
from tlkit.plugin import Backbone

_TIMES = 4.0  # the lowest loss: from there on training diverges, as in fastai's range test
_RECENT = 5  # steps whose mean loss says so


@dataclass(frozen=True)
class Taken:
    """The steps that were taken.

    Attributes:
        losses: Mean loss of each step's images.
        ended: Why there are fewer steps than rates; "" where there are not.
        passes: How many times the images were used, in part or in whole.
    """

    losses: tuple[float, ...]
    ended: str
    passes: int


def take(
    plan: Plan, network: Network, backbone: Backbone, train: TrainingPart, runtime: Runtime, *, phase: PhasePlan,
    rates: Sequence[Mapping[str, float]],
) -> Taken:  # fmt: skip
    """Take one step for each entry of `rates`, until the loss is no longer finite, or training diverges.

    Args:
        plan: Of the run.
        network: That the run begins from, on the device; it is copied.
        backbone: The plugin that built it.
        train: Training images.
        runtime: Where the network is.
        phase: The phase of the plan whose parameters train.
        rates: The learning rate of every group that moves, step by step; the other groups keep their weights.
    """
    train, device, observer = train.at(phase.image_size), runtime.device, runtime.observer
    with seeded(train.seed * 1_000_003 + train.epochs_before, device):
        step = Step(copied("of all", network), plan, device)
        backend = runtime.backend
        run = step if backend is None else Captured(step, backend, note=observer.note)
        run.begin_(phase.first)
        feed = Feed(step.network, backbone, plan, phase, train, Evaluated(None, None), runtime)
        losses: list[float] = []
        before, ended, used = 0.0, "", 0
        try:
            for number, (now, (begun, batches)) in enumerate(
                zip(rates, _batches(feed, train, plan, phase), strict=False), start=1
            ):
                runtime.watch()
                used = begun
                for name, rate in step.rates.items():
                    rate.fill_(now.get(name, 0.0))
                run(batches)
                whole = float(step.so_far()[0])
                loss, before = (whole - before) / sum(len(targets) for _, targets in batches), whole
                observer.testing_rates(number, len(rates))
                if ended := _why_ended(losses, loss):
                    break
                losses.append(loss)
        finally:
            observer.testing_rates(len(rates), len(rates))
            if isinstance(run, Captured):
                run.release()
    return Taken(tuple(losses), ended, used)


def _why_ended(losses: Sequence[float], loss: float) -> str:
    """Return why no further step is taken; "" where one is."""
    if not math.isfinite(loss):
        return "the loss is not a number"
    means = [sum(losses[place : place + _RECENT]) / _RECENT for place in range(len(losses) - _RECENT + 1)]
    if means and means[-1] > max(_TIMES * min(means), means[0]):
        return f"the loss is {_TIMES:g} times as large as the lowest"
    return ""


def _batches(feed: Feed, train: TrainingPart, plan: Plan, phase: PhasePlan) -> Iterator[tuple[int, list[Batch]]]:
    """Yield how many times the images are used by now, and the batches of a step, without end.

    The epochs are those of the phase, again from its first after its last. Where an epoch has a whole step, shorter ones are left out.
    """
    group, used = plan.tables.optimizer.accumulate, 0
    while True:
        epoch = phase.first - 1 + used % phase.epochs
        order, used = train.order(epoch), used + 1
        whole = len(order) // (plan.batch_size * group) * group or batches_per_epoch(len(order), plan.batch_size)
        batches = feed.train(order[: whole * plan.batch_size], epoch)
        while taken := list(islice(batches, group)):
            yield used, taken
