"""What the engine costs beside the bare step: the same network, the same tensors, no work on data.

    python -m benchmarks.overhead [--pairs 150] [--steps 2] [--side 64] [--json]

One side is the engine's `Step` as a run's loop calls it: the rates of each step, the sums, a question whether to stop, a tick for
the observer. The other is the step that a person writes by hand with the same optimizer, precision float32. They take turns,
short ones, so that what slows the machine down meets both; of many ratios the median says more than any of them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import tlkit
from benchmarks import limits
from tlkit.engine.step.step import Step
from tlkit.events import Observer
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.plans.plan import Plan
from tlkit.plans.schedule import factor
from tlkit.plugin import Backbone, Head, registry
from tlkit_heads import LinearOptions

Batches = Sequence[tuple[Tensor, Tensor]]
Turns = tuple[Callable[[], None], Callable[[], None]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the overhead in percent."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=150, help="times that both sides take their turn (150)")
    parser.add_argument("--steps", type=int, default=2, help="of a turn (2)")
    parser.add_argument("--side", type=int, default=64, help="of a picture, pixels (64)")
    parser.add_argument("--batch", type=int, default=32, help="pictures of a step (32)")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    plan = plan_of(options.backbone, side=options.side, batch=options.batch)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = batches_of(plan, steps=options.steps, device=device)
    turns = (engine(plan, network(plan).to(device), batches, device), by_hand(plan, network(plan).to(device), batches))
    for turn in turns:  # warm up
        turn()
    pairs = [_pair(turns, device, reverse=number % 2 == 1) for number in range(options.pairs)]
    ratios = sorted(ours / bare - 1 for ours, bare in pairs)
    middle, (low, high) = statistics.median(ratios), interval(ratios)
    if options.json:
        print(json.dumps({"overhead": middle, "low": low, "high": high, "pairs": len(ratios)}))
        return
    step = statistics.median(bare for _, bare in pairs) / options.steps
    print(
        f"{options.backbone}, {options.side} px, batch {options.batch}: the engine's loop takes {middle:+.2%} beside the bare step "
        f"of {step * 1e3:.1f} ms (95 % interval of the median {low:+.2%} to {high:+.2%}, n = {len(ratios)} pairs)"
    )


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a median, from the order alone: ranks n/2 -+ 0.98 sqrt(n), of the binomial's normal limit."""
    count, reach = len(ordered), 0.98 * math.sqrt(len(ordered))
    low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return ordered[max(low, 0)], ordered[min(high, count - 1)]


def plan_of(backbone: str, *, side: int, batch: int, rate: float = 1e-6) -> Plan:
    """Return the plan of a recipe that trains everything in float32 at one learning rate."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "overhead.toml"
        path.write_text(limits.RECIPE.format(backbone=backbone, side=side, batch=batch))
        return tlkit.plan(path, ['precision="float32"', f"lr_groups={{backbone={rate}, head={rate}}}"])["main"]


def network(plan: Plan) -> Network:
    """Build a plan's network; the same weights every time."""
    return building.build(
        registry.get(Backbone, plan.tables.backbone.name), registry.get(Head, "linear"), classes=plan.classes,
        backbone_options=None, head_options=LinearOptions(), seed=0,
    )  # fmt: skip


def batches_of(plan: Plan, *, steps: int, device: torch.device) -> Batches:
    """Return so many batches of noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (plan.batch_size, 3, *plan.image_size)
    made = []
    for _ in range(steps):
        labels = torch.randint(plan.classes, (plan.batch_size,), generator=generator)
        made.append((_laid(plan, torch.randn(shape, generator=generator)).to(device), labels.to(device)))
    return made


def engine(plan: Plan, made: Network, batches: Batches, device: torch.device) -> Callable[[], None]:
    """Return a turn of the engine: an epoch as a run has it, without data."""
    step, observer = Step(made, plan, device), Observer()

    def watch() -> None: ...

    def turn() -> None:
        step.begin_(1)
        for number, (x, labels) in enumerate(batches):
            watch()
            step.set_rates_(factor(number, schedule=plan.tables.schedule, steps_per_epoch=len(batches)))
            step([(x, labels)])
            observer.step(1, number + 1)
        step.sums()

    return turn


def by_hand(plan: Plan, made: Network, batches: Batches) -> Callable[[], None]:
    """Return a turn of the bare step, written by hand, with the same fused optimizer and memory format."""
    made.train()
    if _layout(plan) == "channels_last":
        made = made.to(memory_format=torch.channels_last)
    table = plan.tables.optimizer
    (rate,) = {group.lr for group in plan.groups}
    optimizer = torch.optim.SGD(made.parameters(), lr=rate, momentum=getattr(table, "momentum", 0.0), fused=True)

    def turn() -> None:
        for x, labels in batches:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(made(x), labels).backward()
            optimizer.step()

    return turn


def _layout(plan: Plan) -> str:
    return str(getattr(getattr(plan, "compute_format", None), "layout", "contiguous"))


def _laid(plan: Plan, x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if _layout(plan) == "channels_last" else x


def _pair(turns: Turns, device: torch.device, *, reverse: bool) -> tuple[float, float]:
    """Return the seconds of both sides; who begins changes, since the one before leaves its caches."""
    order = (1, 0) if reverse else (0, 1)
    seconds = {side: _seconds(turns[side], device) for side in order}
    return seconds[0], seconds[1]


def _seconds(turn: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    turn()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
