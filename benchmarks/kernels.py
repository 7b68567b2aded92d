"""What chosen kernels make of a whole training step on a CPU: the step as it was before them, and as it is, in turns.

    python -m benchmarks.kernels efficientnet_lite0 [mobilenet_v2 ...] [--side 224] [--batch 32] [--pairs 5] [--json]
    python -m benchmarks.kernels --recipe recipes/quickstart.toml --arm finetune [--set KEY=VALUE] [--pairs 5] [--json]

The engine's step trains everything on noise, with random weights. tlkit first measures precisions, memory formats and kernels, as it does once
for a recipe on a machine. "before" is the fastest form with the library's kernels alone, for convolutions and for all other functions;
"now" is the fastest form with chosen ones. How far bfloat16 is from float32 does not count here. No other program should run.

With --recipe it is the step of an arm's last phase, with its weights, images and batch size, behind its fixed prefix. "before" is the
fastest form within 2 % of float32, which once held for steps too, with the library's kernels; "now" is what the recipe chooses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self
from unittest import mock

import torch

from benchmarks.limits import _options, plan_of
from tlkit import machine
from tlkit.compiler import step_timing, timing
from tlkit.engine.evaluate import evaluating
from tlkit.engine.images import device_batches
from tlkit.engine.kernels import functions, selection
from tlkit.engine.runtime import Runtime
from tlkit.engine.step.losses import Batch
from tlkit.engine.step.step import Step
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.network.stages import copied
from tlkit.plans import jobs, resolve
from tlkit.plans.plan import Plan
from tlkit.plugin import Backbone, Head, registry
from tlkit.record.timings import TOLERANCE, Measurements, Timing
from tlkit.run import shared_pictures
from tlkit.sources.places import Places
from tlkit_heads import LinearOptions

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """The steps of a network.

    Attributes:
        network: Its name.
        before: Precision and memory format without kernels.
        now: The same with them.
        kernels: Gradients of convolutions that other kernels than the library's compute.
        before_seconds: Of each step.
        now_seconds: Likewise, in turns with those.
        measuring: Seconds that measuring precisions, memory formats and kernels took.
        processor: Seconds of processor time of it, of all threads.
        steps: Whole steps that were taken for it.
        gradients: Single gradients that were computed for it.
        waited: The part of the time in which threads waited for a processor that another program had.
    """

    network: str
    before: str
    now: str
    kernels: int
    before_seconds: tuple[float, ...]
    now_seconds: tuple[float, ...]
    measuring: float
    processor: float
    steps: int
    gradients: int
    waited: float

    @property
    def faster(self) -> float:
        """The median of the pairs' ratios."""
        return statistics.median(before / now for before, now in zip(self.before_seconds, self.now_seconds, strict=True))


class _Counted:
    """Times what `timing.measure` does meanwhile, and counts the steps and the gradients that it computes.

    Attributes:
        seconds: Of the wall clock.
        processor: Of processor time, of all threads.
        steps: Whole steps.
        gradients: Single gradients.
    """

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0
        self.steps = self.gradients = 0
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> Self:
        measure, step, call = timing.measure, Step.__call__, selection.call

        def timed(*given: Any, **named: Any) -> Measurements:
            wall, processor = time.perf_counter(), time.process_time()
            try:
                return measure(*given, **named)
            finally:
                self.seconds += time.perf_counter() - wall
                self.processor += time.process_time() - processor

        def stepped(mine: Step, batches: Sequence[Batch]) -> None:
            self.steps += 1
            step(mine, batches)

        def computed(*given: Any) -> tuple[torch.Tensor, float]:
            self.gradients += 1
            return call(*given)

        for owner, name, replaced in ((timing, "measure", timed), (Step, "__call__", stepped), (selection, "call", computed)):
            self._patches.enter_context(mock.patch.object(owner, name, replaced))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a row for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="backbones")
    parser.add_argument("--recipe", type=Path, help="measure an arm of this recipe")
    parser.add_argument("--arm", help="of the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value of the recipe")
    parser.add_argument("--side", type=int, default=224, help="of a picture, pixels (224)")
    parser.add_argument("--batch", type=int, default=32, help="pictures of a step (32)")
    parser.add_argument("--pairs", type=int, default=5, help="of steps that are timed (5)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if bool(options.networks) == bool(options.recipe) or bool(options.arm) != bool(options.recipe):
        parser.error("name networks, or --recipe and --arm")
    machine.keep_blocks()  # as the command line does
    if not options.json:
        print(
            "| network | before | ms | now | kernels | ms | times faster | measuring, s | processor, s | steps | gradients | waited |"
        )
        print("|---" * 12 + "|")
    calls = [partial(measure, name, side=options.side, batch=options.batch, pairs=options.pairs) for name in options.networks]
    for call in calls or [partial(measure_arm, options.recipe, options.arm, options.set, pairs=options.pairs)]:
        row = call()
        print(json.dumps(vars(row)) if options.json else _line(row), flush=True)


def measure(name: str, *, side: int, batch: int, pairs: int) -> Row:
    """Measure one network; the arguments are those of the command line."""
    plan = plan_of(name, side=side, batch=batch)
    backbone = registry.get(Backbone, plan.tables.backbone.name)
    network = building.build(
        backbone, registry.get(Head, "linear"), classes=plan.classes, backbone_options=_options(backbone, plan),
        head_options=LinearOptions(), seed=0, image_size=plan.image_size,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, *plan.image_size, generator=generator)
    batches = [(x, torch.randint(plan.classes, (batch,), generator=generator))]
    with mock.patch.object(step_timing, "STEP_TOLERANCE", math.inf), _Counted() as measuring:
        rows = timing.measure(plan, network, x, device=CPU, watch=lambda: None, anew=True).step
    before, now = min(rows, key=_native), min(rows, key=lambda row: row.seconds)
    return _in_turns(name, plan, network, before, now, batches, pairs=pairs, measuring=measuring)


def measure_arm(recipe: Path, arm: str, settings: Sequence[str] = (), *, pairs: int) -> Row:
    """Measure the step of an arm's last phase; the arguments are those of the command line."""
    places = Places(recipe=recipe.parent)
    read, arms = resolve.load(recipe, list(settings), places)
    (job, *_) = jobs.plan_jobs(read, {arm: arms[arm]}, places, runs=Path("runs"), where=str(recipe))
    with _Counted() as measuring:
        prepared = shared_pictures.prepare(job, {}, Runtime(CPU), anew=True)
    plan, network, train = prepared.plan, prepared.start.get(), prepared.train
    rows, order, last = prepared.measured.step, train.order(0)[: plan.batch_size], plan.phases[-1]
    targets = next(iter(device_batches.targets(train, order, last.first - 1, CPU, plan.batch_size)))
    with evaluating(network), torch.no_grad():
        x = network.run(train.inputs(order, last.first - 1, CPU), stop=len(last.prefix))
    before = min((row for row in rows if row.error <= TOLERANCE), key=_native)
    now = next(row for row in rows if row.compute_format == plan.compute_format)
    return _in_turns(f"{read.name}/{arm}", plan, network, before, now, [(x, targets)], pairs=pairs, measuring=measuring)


def _native(row: Timing) -> float:
    """The seconds of a step with the library's kernels."""
    return row.native_seconds or row.seconds


def _in_turns(
    name: str, plan: Plan, network: Network, before: Timing, now: Timing, batches: Sequence[Batch], *,
    pairs: int, measuring: _Counted,
) -> Row:  # fmt: skip
    """Take steps as they were before kernels, and as they are, in turns."""
    steps = [_step(plan, network, each, batches) for each in (replace(before, kernels=()), now)]
    seconds: tuple[list[float], list[float]] = ([], [])
    waited, began = machine.waited(), time.perf_counter()
    for _ in range(pairs):
        for step, taken, kept in zip(steps, seconds, ({}, functions.KERNELS), strict=True):
            with mock.patch.object(functions, "KERNELS", kept):
                taken.append(_seconds(step))
    part = (machine.waited() - waited) / (time.perf_counter() - began) / torch.get_num_threads()
    return Row(
        name, str(before.compute_format), str(now.compute_format), len(now.kernels), tuple(seconds[0]), tuple(seconds[1]),
        measuring.seconds, measuring.processor, measuring.steps, measuring.gradients, part,
    )  # fmt: skip


def _step(plan: Plan, network: Network, form: Timing, batches: Sequence[Batch]) -> Callable[[], None]:
    """Return a warm training step of the last phase."""
    step = Step(copied("of all", network), replace(plan, compute_format=form.compute_format, kernels=form.kernels), CPU)
    step.begin_(plan.phases[-1].first)
    step.set_rates_(0.0)
    step(batches)
    return lambda: step(batches)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _line(row: Row) -> str:
    before, now = (statistics.median(each) * 1000 for each in (row.before_seconds, row.now_seconds))
    return (
        f"| {row.network} | {row.before} | {before:.0f} | {row.now} | {row.kernels} | {now:.0f} | {row.faster:.2f} | "
        f"{row.measuring:.1f} | {row.processor:.1f} | {row.steps} | {row.gradients} | {row.waited:.0%} |"
    )


if __name__ == "__main__":
    sys.exit(main())
