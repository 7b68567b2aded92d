"""How fast runs of one process and of several trained on this machine: said at their end, and remembered for plans."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

import tlkit
from tlkit import machine
from tlkit.plans.plan import Plan
from tlkit.plugin import remembered
from tlkit.record.timings import SharedSpeed

_ADAPTER = TypeAdapter(tuple[SharedSpeed, ...])


def tell(
    plan: Plan, lines: Sequence[Mapping[str, Any]], *, communication: float | None, step: float, device: torch.device,
    note: Callable[[str], None],
) -> None:  # fmt: skip
    """Remember how fast the epochs of these lines were, and say it of several processes.

    Args:
        plan: Of the run that ended.
        lines: Of metrics.jsonl, those of the epochs that these processes trained.
        communication: As in `SharedSpeed`.
        step: Seconds of a step on one process, as measured; 0 where it was not.
        device: That training used.
        note: Told of it.
    """
    if not lines or plan.learns != "steps":
        return
    count = 1 if plan.processes is None else plan.processes.count
    speed = of(count, lines, communication=communication)
    remember(plan, speed, device=device)
    if count > 1:
        note(words(plan, speed, step=step))


def of(count: int, lines: Sequence[Mapping[str, Any]], *, communication: float | None) -> SharedSpeed:
    """Return the speed of a run.

    Args:
        count: Processes that shared it.
        lines: Of metrics.jsonl, those of the epochs that so many processes trained; their median counts.
        communication: As in `SharedSpeed`.
    """
    return SharedSpeed(count, float(statistics.median(line["images_per_second"] for line in lines)), communication)


def remember(plan: Plan, speed: SharedSpeed, *, device: torch.device) -> None:
    """Keep the speed of a run that ended, in the place of an earlier one with as many processes."""
    others = [each for each in recall(plan, device=device) if each.processes != speed.processes]
    known = sorted([*others, speed], key=lambda each: each.processes)
    remembered.remember(_key(plan, device), [asdict(each) for each in known])


def recall(plan: Plan, *, device: torch.device) -> tuple[SharedSpeed, ...]:
    """Return the speeds of runs of a plan on this machine, by the number of their processes; a record that is damaged counts as none."""
    try:
        return _ADAPTER.validate_python(remembered.recall(_key(plan, device)) or ())
    except (ValidationError, RecursionError):
        return ()


def words(plan: Plan, speed: SharedSpeed, *, step: float) -> str:
    """Say how many images a second several processes trained together, and how many times those of one process that is.

    Args:
        plan: Of the run.
        speed: Of the processes.
        step: Seconds of a step on one process, as measured; 0 where it was not.
    """
    text = f"{plan.arm}: {speed.processes} processes trained {speed.images_per_second:,.0f} images/s together"
    if not step:
        return text
    alone = plan.batch_size * plan.tables.optimizer.accumulate / step
    return f"{text}, {speed.images_per_second / alone:.2f} times the {alone:,.0f} images/s that one was measured with"


def _key(plan: Plan, device: torch.device) -> dict[str, object]:
    """What the speed of a run depends on, but for the number of its epochs, its processes and their threads."""
    return {
        "speed of processes": tlkit.__version__,
        "arm": plan.tables.model_dump(mode="json", exclude={"schedule", "early_stopping"}),
        "batch": [plan.batch_size, *plan.image_size],
        "trained": [[phase.trained, len(phase.prefix)] for phase in plan.phases],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": machine.processor(),
    }
