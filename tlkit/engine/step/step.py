"""One optimizer step on one accumulation group of batches, written so that a CUDA graph can capture it.

The rule: every tensor that outlives a step keeps its address; rates are tensors filled from outside; sums stay on the device
and are read outside the step; nothing here asks the device for a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlkit import tasks
from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.formats import LAYOUTS, computing, halves, rounding
from tlkit.engine.kernels import function, functions
from tlkit.engine.ranks import whole_batch
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.ranks.reduction import Counted, Reduction
from tlkit.engine.ranks.shares import Whole
from tlkit.engine.step import optimizers
from tlkit.engine.step.ema import Average
from tlkit.engine.step.loss_scale import LossScale
from tlkit.engine.step.repeatable import Repeatable
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network, pool
from tlkit.plans import sharing
from tlkit.plans.plan import PhasePlan, Plan, trains_in
from tlkit.tasks.objective import Objective

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Sums:
    """Sums over the steps since `begin_`: loss, correct predictions, images.

    Attributes:
        loss: Sum over all images, without the auxiliary heads' losses.
        aux_loss: Sum of the auxiliary heads' losses, without their weights; None if no auxiliary head runs.
        correct: Correct predictions; with soft targets the class with the largest share is the correct one.
        predictions: How many there are: one per image, or one for each of its classes, as the task counts them.
        bad: The first batch whose loss is not a number, from 0; -1 for none.
        norms: Where there is one, the norm of its step's gradients before they were clipped, by group that trains.
    """

    loss: float
    aux_loss: float | None
    correct: int
    predictions: int
    bad: int
    norms: Mapping[str, float]


class Step:
    """The training state of one network: optimizer, learning rates, averaged weights, sums.

    A batch is the input of the phase's trained suffix and its targets: pictures (N, 3, H, W) float32 where no stage is fixed,
    else the feature map that the fixed prefix gives, float32 or bfloat16, or pooled features (N, F) float32 where all are; and
    targets (N, ...) as the plan's task understands them, or soft ones. With `domains` images of the target follow those of the
    source, as its module says; sums are of the source alone.

    Args:
        network: Changed by every call; put into the plan's memory format here.
        plan: Which parameter trains when, in which group, and the form of the step.
        device: The device that the network is on.
        static: Do the same operators in every step, as a graph needs; else norms that nobody is going to read are left out. By
            default, where the device is a CUDA one.
        ranks: The processes of the run, each of which has a part of every batch.
        domains: The loss of domain adaptation, of a run of one process; None without.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        device: torch.device,
        *,
        static: bool | None = None,
        ranks: Ranks = ALONE,
        domains: DomainLoss | None = None,
    ) -> None:
        self.network = network
        self._domains = domains
        self.plan = plan
        self.ranks = ranks
        self._reduction: Reduction | None = None  # of this phase; None where one process has all images
        self._phase: PhasePlan | None = None
        self._device = device
        self._static = device.type == "cuda" if static is None else static
        self._layout = LAYOUTS[plan.compute_format.layout]
        self._evaluation = plan.evaluation_format or plan.compute_format
        network.to(memory_format=self._layout)
        self.optimizer = optimizers.build_optimizer(network, plan, device)
        self.rates: dict[str, Tensor] = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        self._conv2d = function.conv2d(plan.kernels)
        self._task = tasks.get(plan.task)
        self._objective = Objective(
            self._task, smoothing=plan.tables.loss.label_smoothing, weights=plan.class_weights, device=device
        )
        decay = plan.tables.optimizer.ema
        self.average = None if decay is None else Average(network, plan, decay)
        self._members: list[tuple[int, nn.Parameter]] = []  # what trains in this phase, with the number of its group
        self._loss_scale = LossScale(device) if plan.compute_format.precision == "float16" else None
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._aux_loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._predictions = torch.zeros((), dtype=torch.int64, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._norms = torch.zeros(len(self.rates), dtype=torch.float32, device=device)
        self._none = torch.zeros((), dtype=torch.float32, device=device)
        self._repeatable = Repeatable(device) if self._static else None  # the CPU's operators give the same bits as they are
        self._tried = False  # a step in this phase
        # The CPU's memory is the host's, so there the norms wait for a bad step: a pass over the gradients that is saved.
        self._seen = None if self._static or device.type != "cpu" else self._bad.numpy()

    def begin_(self, epoch: int) -> None:
        """Set the network to the phase of an epoch, counted from 1, and clear the sums."""
        phase = self.plan.phase(epoch)
        trains = {p.name for p in self.plan.parameters if trains_in(p.trains_from, epoch)}
        freeze_(self.network, trains.__contains__, running_norms=self.plan.tables.backbone.batch_norm == "running")
        if phase != self._phase:
            self._phase, self._tried = phase, False
            groups = enumerate(self.optimizer.param_groups)
            number = {id(parameter): index for index, group in groups for parameter in group["params"]}
            self._members = [(number[id(p)], p) for p in self.network.parameters() if p.requires_grad]
            self.network.zero_grad(set_to_none=True)
            if self.ranks.size > 1:
                self._reduction = Reduction(
                    self.ranks, self.network, [p for _, p in self._members],
                    batches=self.plan.tables.optimizer.accumulate, device=self._device,
                )  # fmt: skip
        for total in (self._loss, self._aux_loss, self._correct, self._predictions, self._count, self._norms):
            total.zero_()
        self._bad.fill_(-1)
        if self._loss_scale is not None:
            self._loss_scale.clear_()

    def set_rates_(self, factor: float) -> None:
        """Set every group's learning rate to its peak times the schedule's factor; to 0 where no range test has chosen it yet."""
        for group in self.plan.groups:
            self.rates[group.name].fill_((group.lr or 0.0) * factor)

    def set_ramp_(self, ramp: float) -> None:
        """Set the weight of domain adaptation that rises from 0 to 1; without it nothing happens."""
        if self._domains is not None:
            self._domains.set_ramp_(ramp)

    def __call__(self, batches: Sequence[Batch], whole: Whole | None = None) -> None:
        """Take one optimizer step on the mean loss of all images of the batches together.

        Args:
            batches: Of this process.
            whole: What they are part of, where the run has several processes, or labelled images of a target beside the source's.
        """
        sizes = tuple(len(targets) for _, targets in batches)
        whole = whole or Whole(sizes, sizes)
        with rounding(self.plan.compute_format):
            if self._repeatable is None:
                self._take_(batches, whole)
                return
            self._repeatable(lambda: self._take_(batches, whole), None if self._tried else self._changed_before_optimizer())
            self._tried = True

    def evaluated(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) float32 of the trained suffix, in the plan's format for evaluation."""
        return self.read_and_answered(x)[1]

    def read_and_answered(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head reads, and the logits, both float32, in the plan's format for evaluation."""
        x = self._laid_out(x if halves(self._evaluation) else x.float())
        with computing(self._evaluation, self._device):
            read = self.network.read(self.network.run(x, start=self._cut))
            logits = self.network.answer(read)
        return read.float(), logits.float()

    def features(self, x: Tensor) -> Tensor:
        """Return pooled features (N, F) float32 of the trained suffix, in the form of the step."""
        with self._computing():
            return pool(self.network.run(self._laid_out(x), start=self._cut)).float()

    def so_far(self) -> Tensor:
        """Return, on the device, the sum of the loss since `begin_`, and the first batch whose loss is not finite, -1 for none: (2,)."""
        return torch.stack([self._loss, self._bad.double()])

    def skipped(self) -> int:
        """Read from the device how many steps were not taken since `begin_` because their gradients overflowed float16."""
        return 0 if self._loss_scale is None else self._loss_scale.skipped()

    def sums(self) -> Sums:
        """Read the sums from the device, all at once."""
        counts = [each.double() for each in (self._correct, self._predictions, self._bad)]  # exact up to 2**53
        loss, aux_loss, correct, predictions, bad, *norms = torch.cat(
            [torch.stack([self._loss, self._aux_loss, *counts]), self._norms.double()]
        ).tolist()
        groups = sorted({index for index, _ in self._members}) if bad >= 0 else ()
        names = list(self.rates)
        return Sums(
            loss, aux_loss if self._taps else None, int(correct), int(predictions), int(bad),
            {names[index]: norms[index] for index in groups},
        )  # fmt: skip

    def without_gradient(self) -> list[str]:
        """Return the names of parameters that train in this phase but got no gradient in its last step."""
        return [parameter.name for parameter, tensor in self.network.owned() if tensor.requires_grad and tensor.grad is None]

    @property
    def why_inexact(self) -> str:
        """What torch said of an operator that may give other bits another time; empty where every step gives the same."""
        return "" if self._repeatable is None else self._repeatable.refused

    def averaged(self) -> AbstractContextManager[None]:
        """Put the averaged weights into the network, if the recipe has optimizer.ema, and afterwards its own again."""
        return nullcontext() if self.average is None else self.average.swapped()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs besides the network's tensors, by name; they are not copies."""
        mean = {} if self.average is None else self.average.state()
        scale = {} if self._loss_scale is None else self._loss_scale.state()
        return {**optimizers.state(self.optimizer, self.network, self.plan), **mean, **scale}

    def epoch_state(self) -> dict[str, Tensor]:
        """Return the sums since `begin_`, which a checkpoint in the middle of an epoch needs as well; they are not copies."""
        sums = {"loss": self._loss, "aux_loss": self._aux_loss, "correct": self._correct, "predictions": self._predictions}
        rest = {"batches": self._count, "bad": self._bad, "norms": self._norms}
        skipped = {} if self._loss_scale is None else self._loss_scale.epoch_state()
        return {f"sums/{name}": tensor for name, tensor in (sums | rest).items()} | skipped

    def load_epoch_state_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the sums to what `epoch_state` returned, after `begin_`; an empty mapping leaves them.

        Raises:
            KeyError: a sum is not there.
        """
        for name, own in self.epoch_state().items() if tensors else ():
            own.copy_(tensors[name])

    def load_optimizer_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the optimizer's state alone to what `state` returned; a running mean begins anew."""
        optimizers.load_state_(self.optimizer, tensors, self.network, self.plan)

    def load_state_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the state to what `state` returned, after the network's tensors; other names are ignored.

        Before the first step: what exists is filled in place, but what the checkpoint has not is dropped. Everything has its
        parameter's strides, whatever those of the tensors are.

        Raises:
            KeyError: the running mean or the scale of the loss is not there.
            RuntimeError: a tensor has another shape.
        """
        optimizers.load_state_(self.optimizer, tensors, self.network, self.plan)
        if self._loss_scale is not None:
            self._loss_scale.load_state_(tensors)
        if self.average is not None:
            self.average.load_state_(tensors)

    @property
    def _cut(self) -> int:
        return 0 if self._phase is None else len(self._phase.prefix)

    @property
    def _taps(self) -> Mapping[str, float]:
        return {} if self._phase is None else self._phase.aux_heads

    def _take_(self, batches: Sequence[Batch], whole: Whole) -> None:
        self._clear_()
        known = self._bad >= 0
        synced = [sharing.synced(self.plan, images) for images in whole.batches]
        for number, (x, targets) in enumerate(batches):
            counted = whole.counts[number]
            with whole_batch.seen(self.ranks, whole.batches[number], synced=synced[number]):
                logits, aux_logits, adapted = self._forward(x, targets, counted)
            own = len(targets) if self._domains is None else counted  # images of the source
            loss, total = self._losses(logits, targets, own)
            if adapted is not None:
                total = total + adapted
            for name, other in aux_logits.items():
                alone, beside = self._losses(other, targets, own)
                total = total + beside * self._taps[name]
                self._add_aux_(number, alone.detach(), counted)
            part = total if counted == whole.images else total * (counted / whole.images)
            self._scaled(part).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._add_(number, loss.detach(), total.detach(), logits[:own].detach(), targets[:own], counted)
        if self._reduction is not None:
            for each in self._reduction.sum_(whole, synced=all(synced)):
                self._add_whole_(each)
        if self._loss_scale is not None:
            self._loss_scale.unscale_([p.grad for _, p in self._members if p.grad is not None])
        self._clip_(known)
        if self._loss_scale is None:
            self.optimizer.step()
        else:
            self._loss_scale.step(self.optimizer)
        if self.average is not None:
            self.average.update_()

    def _losses(self, logits: Tensor, targets: Tensor, own: int) -> tuple[Tensor, Tensor]:
        """The mean loss of the first images, which are the source's, and that of all, in which labelled ones of a target have their share."""
        loss = self._objective(logits[:own], targets[:own])
        if self._domains is None or own == len(targets):
            return loss, loss
        few = self._objective(logits[own:], targets[own:])
        return loss, torch.lerp(loss, few, self._domains.labelled)

    def _forward(self, x: Tensor, targets: Tensor, own: int) -> tuple[Tensor, Mapping[str, Tensor], Tensor | None]:
        """Logits (N, classes) float32, those of the auxiliary classifiers that run, and the loss of domain adaptation."""
        if self._domains is None:
            return *self._forward_with_aux(x), None
        with functions.faster(self._device, conv2d=self._conv2d):
            outputs = self._domains.forward(
                self._laid_out(x), len(targets), start=self._cut, aux_heads=tuple(self._taps), computing=self._computing
            )
        return outputs.logits, outputs.aux_logits, self._domains(outputs, targets[:own])

    def _forward_with_aux(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (N, classes) float32, and those of the auxiliary classifiers that run."""
        with self._computing(), functions.faster(self._device, conv2d=self._conv2d):
            logits, aux_logits = self.network.forward_with_aux(self._laid_out(x), aux_heads=tuple(self._taps), start=self._cut)
        return logits.float(), {name: other.float() for name, other in aux_logits.items()}

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=self._layout) if x.ndim == 4 else x

    def _computing(self) -> AbstractContextManager[None]:
        return computing(self.plan.compute_format, self._device)

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self._loss_scale is None else self._loss_scale.scaled(loss)

    def _changed_before_optimizer(self) -> dict[str, Tensor]:
        """Return what a step changes in place before its optimizer runs: buffers, such as running statistics, and the sums."""
        return {
            **dict(self.network.named_buffers()),
            **{name: value for name, value in vars(self).items() if isinstance(value, Tensor)},
        }

    def _clear_(self) -> None:
        """Drop the gradients: a pass over them is saved, and a graph owns those that it made and writes over them."""
        self.optimizer.zero_grad(set_to_none=True)
        if self._reduction is not None:
            self._reduction.begin_()

    def _add_aux_(self, number: int, loss: Tensor, counted: int) -> None:
        if self._reduction is None:
            self._aux_loss.add_(loss, alpha=counted)
        else:
            self._reduction.note_aux_(number, counted=counted, loss=loss)

    def _add_(self, number: int, loss: Tensor, total: Tensor, logits: Tensor, targets: Tensor, counted: int) -> None:
        """Add a batch to the sums: at once, or when those of all processes are known."""
        correct, predictions = self._task.correct(logits, targets)
        if self._reduction is not None:
            self._reduction.note_(number, counted=counted, loss=loss, total=total, correct=correct, predictions=predictions)
            return
        self._loss.add_(loss, alpha=counted)  # in float64
        self._correct += correct
        self._predictions += predictions
        self._settle_(torch.isfinite(total))

    def _add_whole_(self, counted: Counted) -> None:
        """Add a batch of all processes to the sums."""
        self._loss += counted.loss
        self._aux_loss += counted.aux_loss
        self._correct += counted.correct.long()
        self._predictions += counted.predictions.long()
        self._settle_(counted.bad == 0)

    def _settle_(self, sound: Tensor) -> None:
        """Remember the first batch whose loss is not a number, and count batches."""
        settled = sound | (self._bad >= 0)
        self._bad.copy_(torch.where(settled, self._bad, self._count))
        self._count += 1

    @torch.no_grad()
    def _clip_(self, known: Tensor) -> None:
        """Clip the gradients, and keep their norms up to and including the first bad step; `known` says whether there was one."""
        clip = self.plan.tables.optimizer.clip_norm
        graded = [(group, p, p.grad) for group, p in self._members if p.grad is not None]
        if not graded or (clip is None and self._seen is not None and self._seen < 0):
            return
        each = torch._foreach_norm([grad for _, _, grad in graded])
        # torch.nn.utils.clip_grad_norm_ in two, bit for bit, with the norms of the tensors kept.
        if clip is not None:
            total = torch.linalg.vector_norm(torch.stack(each))
            nn.utils.clip_grads_with_norm_([p for _, p, _ in graded], clip, total)
        parts: list[list[Tensor]] = [[] for _ in self.rates]
        for (group, _, _), norm in zip(graded, each, strict=True):
            parts[group].append(norm)
        norms = [torch.linalg.vector_norm(torch.stack(part)) if part else self._none for part in parts]
        self._norms.copy_(torch.where(known, self._norms, torch.stack(norms)))
