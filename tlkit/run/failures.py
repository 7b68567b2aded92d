"""Say in words why a run cannot go on: a disk that is full, memory that is too small, an operation that a GPU does not have."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from tlkit import files, machine, tasks, units
from tlkit.errors import Diverged, OutOfMemory, RunFailed, TlkitError
from tlkit.network import device_memory
from tlkit.plans.plan import Plan
from tlkit.run import memory
from tlkit.run.preparation import Prepared

# What torch says where cuDNN has no deterministic kernel, as of bfloat16 gradients of grouped convolutions.
_NO_KERNEL = ("unable to find an engine", "valid cuDNN algorithm", "CUDNN_STATUS_NOT_SUPPORTED")

_LEAST_TILE = 32  # pixels: what data.tile_size takes


def in_words(error: Exception, prepared: Prepared, device: torch.device) -> RunFailed:
    """Return why a run cannot go on; what is a mistake of ours is raised as it is.

    Args:
        error: What ended it.
        prepared: The run.
        device: The device that it uses.
    """
    job, plan = prepared.job, prepared.plan
    if isinstance(error, TlkitError):
        kind = Diverged if isinstance(error, Diverged) else RunFailed
        return kind(f"{job.label}: {error.problem}", *error.hints)
    if isinstance(error, OSError):
        return files.unwritable(job.folder, error)
    if machine.is_out_of_memory(error):
        return _out_of_memory(error, prepared, device)
    if any(words in str(error) for words in _NO_KERNEL):
        return RunFailed(
            f"{job.label}: cuDNN has no kernel with the same bits every time for this network in {plan.compute_format}.",
            'precision = "auto", which passes over it, or precision = "float32"',
        )
    raise error


def memory_in_words(prepared: Prepared, device: torch.device) -> AbstractContextManager[None]:
    """Raise RunFailed of memory that runs out within the block: it says what did not fit, and what would."""
    return device_memory.exhaustion_as(lambda error: in_words(error, prepared, device))


def memory_for(where: str, images: int, device: torch.device) -> AbstractContextManager[None]:
    """Raise TlkitError of memory that runs out within the block: so many images at a time do not fit into it.

    Args:
        where: Begins the message: "Model.predict".
        images: At a time.
        device: The device that computes.
    """
    problem = f"{where}: does not fit into the memory of {device}: {units.images(images)} at a time."
    return device_memory.exhaustion_as(lambda _: TlkitError(problem, "fewer images at a time, or images of fewer pixels"))


def _in_tiles(plan: Plan) -> tuple[str, ...]:
    """Say in which tiles pictures with masks can be evaluated that do not fit whole, or in the tiles that there are; nothing if in no smaller."""
    if plan.canvas is None or not tasks.get(plan.task).targets.masks:
        return ()
    side = max(_LEAST_TILE, min(plan.tile or max(plan.canvas), max(plan.canvas)) // 2)
    if side >= (plan.tables.data.tile_size or max(plan.canvas)):
        return ()
    return (f"data.tile_size = {side} evaluates larger pictures in tiles",)


def _out_of_memory(error: Exception, prepared: Prepared, device: torch.device) -> RunFailed:
    """Return what did not fit into memory, and what would; only a training step's batch can pass the network in parts."""
    label, plan = prepared.job.label, prepared.plan
    purpose = error.purpose if isinstance(error, device_memory.Exhausted) else None
    if purpose == "evaluation":
        fewer = "a smaller data.batch_size evaluates fewer at a time, and optimizer.accumulate keeps steps of as many images"
        return RunFailed(
            f"{label}: evaluation does not fit into the memory of {device}: {units.images(plan.evaluation_batch)} at a time.",
            fewer if plan.evaluation_batch > 1 else "images of fewer pixels take less memory",
            *_in_tiles(plan),
        )
    if purpose == "prefix":
        chunk = next((each.fixed.chunk for each in plan.phases if each.fixed is not None), plan.batch_size)
        return RunFailed(
            f"{label}: the frozen stages do not fit into the memory of {device}: {units.images(chunk)} at a time.",
            "images of fewer pixels take less memory; what was stored before stays, and the next apply goes on from there",
        )
    kind = OutOfMemory if purpose == "step" else RunFailed
    fits = memory.fitting(plan, device)
    accumulate = plan.tables.optimizer.accumulate * (-(-plan.batch_size // fits) if fits else 1)
    return kind(
        f"{label}: a batch of {units.images(plan.batch_size)} does not fit into the memory of {device}.",
        f"data.batch_size = {fits} fits by estimate, and with optimizer.accumulate = {accumulate} a step has as many images as before"
        if fits
        else "no smaller batch fits by estimate: smaller images, or more frozen stages, take less memory",
    )
