"""One optimizer step on one accumulation group, in the form that a graph could capture.

The rule: rates are tensors filled from outside; sums stay on the device and are read outside the step; nothing here asks
the device for a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tlkit import network as networks
from tlkit.network import Network
from tlkit.plans import GroupPlan, Plan, trains_in
from tlkit.recipe import AdamW

Batch = tuple[Tensor, Tensor]


class Step:
    """Training state of one network: optimizer, rates, sums.

    Args:
        network: Changed by every call.
        plan: Which parameter trains when, in which group.
        device: That the network is on.
    """

    def __init__(self, network: Network, plan: Plan, device: torch.device) -> None:
        self.network = network
        self._plan = plan
        self._cut = 0
        self._clip = plan.tables.optimizer.clip_norm
        self._smoothing = plan.tables.loss.label_smoothing
        self.optimizer = build_optimizer(network, plan, device)
        self.rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)

    def begin_(self, epoch: int) -> None:
        """Set the network to the phase of an epoch, from 1, and clear the sums."""
        trains = {p.name for p in self._plan.parameters if trains_in(p.trains_from, epoch)}
        networks.freeze_(self.network, trains.__contains__)
        self._cut = len(self._plan.phase(epoch).prefix)
        for total in (self._loss, self._correct, self._count):
            total.zero_()
        self._bad.fill_(-1)

    def set_rates_(self, factor: float) -> None:
        """Fill every group's rate with its peak times the schedule's factor."""
        for group in self._plan.groups:
            self.rates[group.name].fill_(group.lr * factor)

    def __call__(self, batches: Sequence[Batch]) -> None:
        """Take one optimizer step on the mean loss of all images of the batches together."""
        self.optimizer.zero_grad(set_to_none=True)
        images = sum(len(labels) for _, labels in batches)
        for x, labels in batches:
            logits = self.forward(x)
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self._smoothing)
            part = loss if len(labels) == images else loss * (len(labels) / images)
            part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._add_(loss.detach(), logits.detach(), labels)
        if self._clip is not None:
            nn.utils.clip_grad_norm_([p for p in self.network.parameters() if p.grad is not None], self._clip)
        self.optimizer.step()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; the fixed prefix keeps nothing for the backward pass."""
        with torch.no_grad():
            x = self.network.run(x, stop=self._cut)
        return self.network.finish(self.network.run(x, start=self._cut))

    def sums(self) -> tuple[float, int, int]:
        """Read, from the device, the sum of losses over images, the correct ones, and the first batch with a bad loss or -1."""
        return float(self._loss), int(self._correct), int(self._bad)

    def _add_(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._loss += loss.double() * len(labels)
        self._correct += (logits.argmax(1) == labels).sum()
        first_bad = ~torch.isfinite(loss) & (self._bad < 0)
        self._bad.copy_(torch.where(first_bad, self._count, self._bad))
        self._count += 1


def build_optimizer(network: Network, plan: Plan, device: torch.device) -> torch.optim.Optimizer:
    """Build the optimizer with every parameter that ever trains, its rates as 0-d tensors on the device.

    The constructors read a tensor rate back to check it, so they get numbers and the tensors are put in afterwards.
    """
    tensors = {parameter.name: tensor for parameter, tensor in network.owned()}
    members: dict[str, list[nn.Parameter]] = {group.name: [] for group in plan.groups}
    for parameter in plan.parameters:
        if parameter.trains_from is not None and parameter.group is not None:
            members[parameter.group].append(tensors[parameter.name])
    groups = [{"params": members[group.name], "name": group.name, **_settings(group)} for group in plan.groups]
    optimizer = _construct(groups, plan, fused=device.type in ("cpu", "cuda"))
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
        # Fused SGD fails where one parameter of a group begins later than another. From zeros its first step is the same.
        for parameter in group["params"] if group.get("momentum") else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _settings(group: GroupPlan) -> dict[str, float]:
    settings = {"lr": group.lr, "weight_decay": group.weight_decay}
    return settings if group.momentum is None else {**settings, "momentum": group.momentum}


def _construct(groups: list[dict[str, object]], plan: Plan, *, fused: bool) -> torch.optim.Optimizer:
    table = plan.tables.optimizer
    if table.name == "sgd":
        return torch.optim.SGD(groups, nesterov=table.nesterov, momentum=table.momentum, fused=fused)
    kind = torch.optim.AdamW if isinstance(table, AdamW) else torch.optim.Adam
    return kind(groups, betas=table.betas, eps=table.eps, fused=fused)
