"""One optimizer step on one accumulation group of batches, written so that a CUDA graph can capture it.

The rule: every tensor that outlives a step keeps its address; rates are tensors filled from outside; sums stay on the device
and are read outside the step; nothing here asks the device for a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from tlkit import tasks
from tlkit.engine.domains.batch_loss import DomainLoss
from tlkit.engine.formats import LAYOUTS, computing, laid_out, rounding
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.engine.ranks.reduction import Reduction
from tlkit.engine.ranks.shares import Whole
from tlkit.engine.step import optimizers
from tlkit.engine.step.ema import Average
from tlkit.engine.step.loss_scale import LossScale
from tlkit.engine.step.losses import Batch, BatchLoss, Losses
from tlkit.engine.step.repeatable import Repeatable
from tlkit.engine.step.sums import EpochSums, Sums
from tlkit.network.freezing import freeze_
from tlkit.network.network import Network, pool
from tlkit.plans import sharing
from tlkit.plans.plan import PhasePlan, Plan, trains_in


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
        domains: The loss of domain adaptation; None without.
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
        self.plan = plan
        self.ranks = ranks
        self._reduction: Reduction | None = None  # of this phase; None where one process has all images
        self._phase: PhasePlan | None = None
        self._device = device
        self._static = device.type == "cuda" if static is None else static
        network.lay_out_(LAYOUTS[plan.compute_format.layout])
        self.optimizer = optimizers.build_optimizer(network, plan, device)
        self.rates: dict[str, Tensor] = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        self._task = tasks.get(plan.task)
        self._losses = Losses(network, plan, device, ranks=ranks, domains=domains)
        decay = plan.tables.optimizer.ema
        self.average = None if decay is None else Average(network, plan, decay)
        self._members: list[tuple[int, nn.Parameter]] = []  # what trains in this phase, with the number of its group
        self._loss_scale = LossScale(device) if plan.compute_format.precision == "float16" else None
        self._sums = EpochSums(device, self.rates, static=self._static)
        self._repeatable = Repeatable(device) if self._static else None  # the CPU's operators give the same bits as they are
        self._tried = False  # a step in this phase

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
        self._sums.clear_()
        if self._loss_scale is not None:
            self._loss_scale.clear_()

    def weights_are_set_(self) -> None:
        """Let a running mean begin with the present weights, which were set before the first step."""
        if self.average is not None:
            self.average.begin_()

    def set_rates_(self, factor: float) -> None:
        """Set every group's learning rate to its peak times the schedule's factor; to 0 where no range test has chosen it yet."""
        for group in self.plan.groups:
            self.rates[group.name].fill_((group.lr or 0.0) * factor)

    def set_ramp_(self, ramp: float) -> None:
        """Set the weight of domain adaptation that rises from 0 to 1; without it nothing happens."""
        self._losses.set_ramp_(ramp)

    def __call__(self, batches: Sequence[Batch], whole: Whole | None = None) -> None:
        """Take one optimizer step on the mean loss of all images of the batches together, or of what the task counts in them.

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

    def features(self, x: Tensor) -> Tensor:
        """Return pooled features (N, F) float32 of the trained suffix, in the form of the step."""
        with computing(self.plan.compute_format, self._device):
            return pool(self.network.carry(laid_out(x, self.plan.compute_format), start=self._cut).last).float()

    def so_far(self) -> Tensor:
        """Return, on the device, the sum of the loss since `begin_`, and the first batch whose loss is not finite, -1 for none: (2,)."""
        return self._sums.so_far()

    def skipped(self) -> int:
        """Read from the device how many steps were not taken since `begin_` because their gradients overflowed float16."""
        return 0 if self._loss_scale is None else self._loss_scale.skipped()

    def sums(self) -> Sums:
        """Read the sums from the device, all at once."""
        return self._sums.read(with_aux=bool(self._taps), trained=(index for index, _ in self._members))

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
        skipped = {} if self._loss_scale is None else self._loss_scale.epoch_state()
        return self._sums.state() | skipped

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
        known = self._sums.known()
        synced = [sharing.synced(self.plan, images) for images in whole.batches]
        for number, (batch, counted) in enumerate(zip(batches, self._losses.counted(batches, whole), strict=True)):
            found = self._losses.of(batch, whole, number, counted, synced=synced[number], start=self._cut, aux_heads=self._taps)
            for alone in found.aux:
                self._add_aux_(number, alone, counted.images)
            self._scaled(found.part).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._add_(number, found, counted.images, here=whole.counts[number] > 0)
        if self._reduction is not None:
            for each in self._reduction.sum_(whole, synced=all(synced)):
                self._sums.add_whole_(each)
        if self._loss_scale is not None:
            self._loss_scale.unscale_([p.grad for _, p in self._members if p.grad is not None])
        self._clip_(known)
        if self._loss_scale is None:
            self.optimizer.step()
        else:
            self._loss_scale.step(self.optimizer)
        if self.average is not None:
            self.average.update_()

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self._loss_scale is None else self._loss_scale.scaled(loss)

    def _changed_before_optimizer(self) -> dict[str, Tensor]:
        """Return what a step changes in place before its optimizer runs: buffers, such as running statistics, and the sums."""
        return {**dict(self.network.named_buffers()), **self._sums.state()}

    def _clear_(self) -> None:
        """Drop the gradients: a pass over them is saved, and a graph owns those that it made and writes over them."""
        self.optimizer.zero_grad(set_to_none=True)
        if self._reduction is not None:
            self._reduction.begin_()

    def _add_aux_(self, number: int, loss: Tensor, counted: int | Tensor) -> None:
        if self._reduction is None:
            self._sums.add_aux_(loss, counted=counted)
        else:
            self._reduction.note_aux_(number, counted=counted, loss=loss)

    def _add_(self, number: int, found: BatchLoss, counted: int | Tensor, *, here: bool) -> None:
        """Add a batch to the sums: at once, or when those of all processes are known; `here`: its images count here."""
        loss, total = found.loss.detach(), found.total.detach()
        correct, predictions = self._task.correct(found.logits.detach(), found.targets)
        if self._reduction is not None:
            self._reduction.note_(
                number, counted=counted, loss=loss, total=total, correct=correct * here, predictions=predictions * here
            )
            return
        self._sums.add_(loss, total, counted=counted, correct=correct, predictions=predictions)

    @torch.no_grad()
    def _clip_(self, known: Tensor) -> None:
        """Clip the gradients, and keep their norms up to and including the first bad step; `known` says whether there was one."""
        clip = self.plan.tables.optimizer.clip_norm
        graded = [(group, p, p.grad) for group, p in self._members if p.grad is not None]
        if not graded or (clip is None and not self._sums.wants_norms()):
            return
        each = torch._foreach_norm([grad for _, _, grad in graded])
        # torch.nn.utils.clip_grad_norm_ in two, bit for bit, with the norms of the tensors kept.
        if clip is not None:
            total = torch.linalg.vector_norm(torch.stack(each))
            nn.utils.clip_grads_with_norm_([p for _, p, _ in graded], clip, total)
        self._sums.keep_norms_(known, [group for group, _, _ in graded], each)
