"""Over-fitting: the held-out loss rises while the loss on training images falls. Said only where the curves show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkit.record import statistics
from tlkit.reports.page.runs import ShownArm, ShownRun


@dataclass(frozen=True)
class Losses:
    """The losses of a run that is evaluated after each epoch.

    Attributes:
        split: The held-out images: "test", or "validation" where test images are evaluated at the end alone.
        epochs: Their numbers, from 1.
        train: Of training images: after each epoch where that was evaluated, else the mean over its batches.
        held_out: Of held-out images after each epoch.
    """

    split: str
    epochs: Sequence[int]
    train: Sequence[float]
    held_out: Sequence[float]


def begins(arm: ShownArm) -> int | None:
    """Return the epoch of the arm's first run after which it over-fits; None where it does not, or where that cannot be told."""
    found = _losses(arm.first)
    if found is None:
        return None
    at = statistics.over_fitting(found.train, found.held_out)
    return None if at is None else found.epochs[at]


def sentence(arm: ShownArm) -> str:
    """Return what the curves of the losses show; "" where there are none."""
    found = _losses(arm.first)
    if found is None:
        return ""
    name, last, end = f"{arm.name}: the {found.split} loss", found.epochs[-1], found.held_out[-1]
    if len(found.epochs) < statistics.FEWEST_EPOCHS:
        return f"{name} goes from {found.held_out[0]:.3g} to {end:.3g} in {len(found.epochs)} epochs, too few to tell over-fitting."
    least = min(found.held_out)
    lowest = found.epochs[list(found.held_out).index(least)]
    if lowest == last:
        return f"{name} is lowest in the last epoch, {last} ({least:.3g}); no over-fitting is seen."
    text = f"{name} is lowest in epoch {lowest} ({least:.3g}) and {end:.3g} in the last, {last}"
    if begins(arm) is not None:
        return f"{text}, while the train loss falls: after epoch {lowest} the run over-fits."
    return f"{text}; that is no lasting rise while the train loss falls, so no over-fitting is seen."


def _losses(run: ShownRun) -> Losses | None:
    for split in (run.split, "validation"):
        lines: list[Mapping[str, Any]] = [line for line in run.metrics if line.get(split)]
        if len(lines) > 1:
            train = "train_evaluated" if all(line.get("train_evaluated") for line in lines) else "train"
            return Losses(
                split,
                [int(line["epoch"]) for line in lines],
                [line[train]["loss"] for line in lines],
                [line[split]["loss"] for line in lines],
            )
    return None
