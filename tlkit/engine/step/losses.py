"""The loss of one batch of a step: the forward pass, the losses of all images and classifiers, and a process's part of their sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tlkit import tasks
from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.formats import computing, laid_out
from tlkit.engine.kernels import function, functions
from tlkit.engine.ranks import whole_batch
from tlkit.engine.ranks.ranks import Ranks
from tlkit.engine.ranks.shares import Composition, Whole, labelled_share
from tlkit.engine.step import counting
from tlkit.engine.step.counting import Counted
from tlkit.network.network import Network
from tlkit.plans.plan import Plan
from tlkit.tasks.objective import Objective

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BatchLoss:
    """What one batch gave.

    Attributes:
        loss: Mean loss of its images, of those of the source with [adapt], ().
        total: That with all other losses, each with its weight, ().
        part: What the batch and this process add to the loss of the step, of which gradients are taken, ().
        aux: Mean loss of each auxiliary classifier that runs, (), without gradient.
        logits: Of the images that `loss` is of, (n, classes).
        targets: Of the same, (n, ...).
    """

    loss: Tensor
    total: Tensor
    part: Tensor
    aux: Sequence[Tensor]
    logits: Tensor
    targets: Tensor


class Losses:
    """Computes the losses of batches.

    Args:
        network: In the plan's memory format.
        plan: The form of the step, the loss, and the kernels.
        device: The device that the network is on.
        ranks: The processes of the run.
        domains: The loss of domain adaptation; None without.
    """

    def __init__(self, network: Network, plan: Plan, device: torch.device, *, ranks: Ranks, domains: DomainLoss | None) -> None:
        self._network, self._device, self._ranks, self._domains = network, device, ranks, domains
        self._format = plan.compute_format
        self._conv2d = function.conv2d(plan.kernels)
        self._task = tasks.get(plan.task)
        self._objective = Objective(
            self._task, smoothing=plan.tables.loss.label_smoothing, weights=plan.class_weights, device=device,
            terms=plan.tables.loss.terms,
        )  # fmt: skip

    def set_ramp_(self, ramp: float) -> None:
        """Set the weight of domain adaptation that rises from 0 to 1; without it nothing happens."""
        if self._domains is not None:
            self._domains.set_ramp_(ramp)

    def counted(self, batches: Sequence[Batch], whole: Whole) -> list[Counted]:
        """Return what each batch of a step counts in its mean loss; of this process."""
        return counting.counted(self._task, [targets for _, targets in batches], whole, self._ranks)

    def of(
        self, batch: Batch, whole: Whole, number: int, counted: Counted, *, synced: bool, start: int,
        aux_heads: Mapping[str, float],
    ) -> BatchLoss:  # fmt: skip
        """Run the network on a batch, and return its losses.

        Args:
            batch: Of this process.
            whole: What the batches of the step are part of.
            number: Of the batch among them.
            counted: What it counts.
            synced: BatchNorm normalises over all processes.
            start: Leading stages that are fixed.
            aux_heads: Auxiliary classifiers that run, with the weights of their losses.
        """
        x, targets = batch
        composition = self._composition(whole, number)
        own = len(targets) if self._domains is None else max(whole.counts[number], 1)  # images of the source
        logits, aux_logits, adapted = self._forward(
            x, targets, own, composition, synced=synced, start=start, aux_heads=tuple(aux_heads)
        )
        loss, total = self._losses(logits, targets, own, composition, counted)
        if adapted is not None and self._domains is not None and self._domains.source_free:  # there is no other loss
            loss, total = adapted * self._ranks.size, torch.zeros_like(loss)
        aux = []
        for name, other in aux_logits.items():
            alone, beside = self._losses(other, targets, own, composition, counted)
            total = total + beside * aux_heads[name]
            aux.append(alone.detach())
        part = _times(total, counted.images / whole.images)
        if adapted is not None:  # of the whole batch
            part, total = part + _times(adapted, composition.images / whole.images), total + adapted
        return BatchLoss(loss, total, part, aux, logits[:own], targets[:own])

    def _composition(self, whole: Whole, number: int) -> Composition:
        """What a batch of the group consists of, all processes together."""
        images, views = whole.batches[number], 0 if self._domains is None else self._domains.beside
        return Composition(images, whole.labelled[number] if whole.labelled else 0, images if views else 0, max(views, 1))

    def _losses(self, logits: Tensor, targets: Tensor, own: int, batch: Composition, counted: Counted) -> tuple[Tensor, Tensor]:
        """The mean loss of the first images, which are the source's, and that of all, in which labelled ones of a target have their share.

        With several processes the share is such that losses, each times its process's images of the source, add up to those of one.
        """
        loss = self._objective(logits[:own], targets[:own], whole=counted.whole)
        if self._domains is None or not batch.labelled:
            return loss, loss
        if own == len(targets):  # another process has them
            return loss, loss * (1 - self._domains.labelled)
        few = self._objective(logits[own:], targets[own:])
        if self._ranks.size > 1:
            here = labelled_share(batch.labelled, self._ranks.rank, self._ranks.size).counted
            few = few * (here / batch.labelled * batch.images / own)
        return loss, torch.lerp(loss, few, self._domains.labelled)

    def _forward(
        self, x: Tensor, targets: Tensor, own: int, batch: Composition, *, synced: bool, start: int, aux_heads: Sequence[str]
    ) -> tuple[Tensor, Mapping[str, Tensor], Tensor | None]:
        """Logits (N, classes) float32, those of the auxiliary classifiers that run, and this process's part of the loss of adaptation."""
        seen = partial(whole_batch.seen, self._ranks, synced=synced)
        if self._domains is None:
            with seen(batch):
                return *self._forward_with_aux(x, start=start, aux_heads=aux_heads), None
        with functions.faster(self._device, conv2d=self._conv2d):
            outputs = self._domains.forward(
                laid_out(x, self._format), len(targets), whole=batch, start=start, aux_heads=aux_heads,
                computing=self._computing, seen=seen,
            )  # fmt: skip
        return outputs.logits, outputs.aux_logits, self._domains(outputs, targets[:own], batch, self._ranks)

    def _forward_with_aux(self, x: Tensor, *, start: int, aux_heads: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (N, classes) float32, and those of the auxiliary classifiers that run."""
        with self._computing(), functions.faster(self._device, conv2d=self._conv2d):
            logits, aux_logits = self._network.forward_with_aux(laid_out(x, self._format), aux_heads=aux_heads, start=start)
        return logits.float(), {name: other.float() for name, other in aux_logits.items()}

    def _computing(self) -> AbstractContextManager[None]:
        return computing(self._format, self._device)


def _times(loss: Tensor, factor: float | Tensor) -> Tensor:
    """A loss times a factor; without an operation where it is the number 1."""
    return loss if not isinstance(factor, Tensor) and factor == 1 else loss * factor
