"""Memory that runs out in a run: which batch would fit, when batches may pass the network in pieces, and how memory is given back.

The rule: a step stays one on all images of its batch. Pieces add their gradients up as those of optimizer.accumulate do, so only what
normalises by the batch, or compares its images, would learn something else; there a run fails.
"""

from __future__ import annotations

import gc
import traceback

import torch

from tlkit.network import device_memory
from tlkit.plans.plan import Plan
from tlkit.run.preparation import Prepared

_SHARE = 0.7  # of the free memory, that a batch which is named may fill


def can_halve(prepared: Prepared, pieces: int) -> bool:
    """Whether the batches of a run that was begun just now may pass the network in twice as many pieces."""
    plan, resolved = prepared.plan, prepared.job.resolved
    alike = not any(phase.normalised for phase in plan.phases) and resolved.adaptation is None and not plan.tables.loss.dice
    whole = plan.learns == "steps" and plan.processes is None and prepared.earlier is None
    return whole and alike and pieces * 2 <= plan.batch_size


def why_inexact(pieces: int) -> str:
    """Say why a run whose batches pass the network in pieces may have other bits; "" of one piece."""
    return f"memory ran out: each batch passed the network in {pieces} parts" if pieces > 1 else ""


def halved(pieces: int) -> str:
    """Say what is done where memory ran out."""
    return f"Each batch passes the network in {pieces * 2} parts from here on, and a step is still one on all of its images"


def fitting(plan: Plan, device: torch.device) -> int | None:
    """Return a smaller batch size that fits into memory by the plan's estimate, a power of two; None where there is none."""
    memory, least = plan.memory, 2 if any(phase.normalised for phase in plan.phases) else 1  # one image may have no statistics
    left = _SHARE * device_memory.usable_memory(device) - (memory.weights + memory.gradients + memory.optimizer)
    images = int(left * plan.batch_size / max(memory.activations + memory.images, 1))
    most = min(images, plan.batch_size // 2)
    return 1 << most.bit_length() - 1 if most >= least else None


def let_go(error: BaseException | None) -> None:
    """Clear what led to an error: the frames of its traceback hold the network, the optimizer and the autograd graph of its run."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        following = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = following
    gc.collect()


def free(device: torch.device) -> None:
    """Give a GPU's memory back between two runs, so that the next one finds as much as the first. The CPU's needs no help."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
