"""Estimate the memory of the loss of masks, which has values for every pixel and class as the logits have."""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit.recipe.losses import LossTable
from tlkit.tasks import Task
from tlkit.tasks.objective import Objective
from tlkit.units import Size

_META = torch.device("meta")
_PASSING = 2  # tensors of the logits' size beside what is kept: the gradient, and what it is made of


def loss_bytes(task: Task, table: LossTable, *, classes: int, images: int, size: Size) -> int:
    """Return the bytes that the loss of a batch takes beside its logits: what autograd keeps of it, and what passes.

    Args:
        task: With masks; of others the loss takes next to nothing.
        table: The recipe's settings of the loss.
        classes: Number of classes.
        images: Of the batch.
        size: Height and width of the masks.
    """
    logits = torch.empty(images, classes, *size, device=_META, requires_grad=True)
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # holds storages, so that no two share an id

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    objective = Objective(task, smoothing=table.label_smoothing, weights=(), device=_META, terms=table.terms)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        objective(logits, torch.empty(images, *size, dtype=torch.uint8, device=_META))
    kept.pop(logits.untyped_storage()._cdata, None)
    return sum(kept.values()) + _PASSING * logits.nbytes
