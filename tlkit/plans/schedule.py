"""The learning-rate factor of an optimizer step: a pure function, so a run can be continued at any step."""

from __future__ import annotations

import math

from tlkit.recipe.schedules import Constant, Cosine, OneCycle, Schedule, Step

_RAMP = 10.0  # DANN's gamma


def factor(step: int, *, schedule: Schedule, steps_per_epoch: int) -> float:
    """Return what the peak rate is multiplied by, 0 to 1.

    A warm-up of w steps multiplies step s < w by (s + 1) / w. A cosine runs over the steps after it; the drops of `step` are
    at epochs of the run.

    Args:
        step: Optimizer steps already taken, 0 <= step < epochs * steps_per_epoch.
        schedule: The recipe's schedule.
        steps_per_epoch: Optimizer steps of one epoch, at least 1.

    Raises:
        ValueError: step is outside the run.

    Source: warm-up Goyal et al. 2017, arXiv:1706.02677, 2.2; cosine Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5;
        one cycle Smith & Topin 2017, arXiv:1708.07120, with cosine legs as in torch.optim.lr_scheduler.OneCycleLR.
    """
    total = schedule.epochs * steps_per_epoch
    if not 0 <= step < total:
        raise ValueError(f"step {step} is outside the run of {total} steps")
    if isinstance(schedule, OneCycle):
        return _one_cycle(step, schedule, total)
    warmup = warmup_steps(schedule, steps_per_epoch)
    if step < warmup:
        return (step + 1) / warmup
    match schedule:
        case Constant():
            return 1.0
        case Cosine():
            return _half_cosine(1.0, schedule.final, (step - warmup) / (total - warmup))
        case Step():
            epoch = step // steps_per_epoch
            drops = epoch // schedule.every if schedule.every else sum(epoch >= milestone for milestone in schedule.milestones)
            return float(schedule.gamma**drops)


def ramp(step: int, *, total: int) -> float:
    """Return the ramp of a loss of domain adaptation: 0 at the first optimizer step, towards 1 at the last.

    2 / (1 + exp(-10 p)) - 1, with p = step / total.

    Args:
        step: Optimizer steps already taken, 0 <= step < total.
        total: Steps in the whole run.

    Raises:
        ValueError: step is outside the run.

    Source: DANN, Ganin et al. 2016, arXiv:1505.07818, section 5.2.2.
    """
    if not 0 <= step < total:
        raise ValueError(f"step {step} is outside the run of {total} steps")
    return 2 / (1 + math.exp(-_RAMP * step / total)) - 1


def warmup_steps(schedule: Constant | Step | Cosine, steps_per_epoch: int) -> int:
    """Return the steps of the linear rise; at least one step of the run comes after it."""
    return min(round(schedule.warmup_epochs * steps_per_epoch), schedule.epochs * steps_per_epoch - 1)


def _one_cycle(step: int, schedule: OneCycle, total: int) -> float:
    start = 1 / schedule.start_div
    peak = max(schedule.rise * total - 1, 0.0)  # the step whose factor is 1
    if step < peak:
        return _half_cosine(start, 1.0, step / peak)
    fall = total - 1 - peak  # 0 for a run of one step, which is taken at the peak
    return _half_cosine(1.0, start / schedule.end_div, (step - peak) / fall if fall > 0 else 0.0)


def _half_cosine(first: float, last: float, part: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2
