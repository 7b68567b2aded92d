"""Exponential moving average of the weights, updated by the training step and used for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from tlkit.engine.step.changing import changing
from tlkit.network.network import Network
from tlkit.plans.plan import Plan

_PREFIX = "ema/"
_UPDATES = f"{_PREFIX}updates"


class Average:
    """Moving average of all parameters that train in any phase, and of the buffers beside them.

    After update t, from 0: mean = d mean + (1 - d) weight with d = min(decay, (1 + t) / (10 + t)), so that the initial
    weights are soon forgotten. The mean begins as the weights it is built with. d is worked out on the device from a counter
    there: an update is the same operators on the same addresses every time, and a checkpoint holds all there is.

    Buffers of floating point, BatchNorm's running statistics, are averaged like the weights, so that they belong to the
    averaged weights; whole numbers are the network's own. Both timm's ModelEmaV3 and the example for running means of
    torch.optim.swa_utils.AveragedModel (use_buffers=True) do so. Buffers of stages that never train are constant and left out.

    Args:
        network: The network on its device and in its memory format.
        plan: Which parameters ever train.
        decay: Part of the mean that an update keeps in the long run, 0 to 1.

    Source: tf.train.ExponentialMovingAverage, argument num_updates.
    """

    def __init__(self, network: Network, plan: Plan, decay: float) -> None:
        followed = {name: tensor for name, tensor in changing(network, plan).items() if tensor.is_floating_point()}
        self._decay = decay
        self._names = tuple(followed)
        self._now = list(followed.values())
        self._mean = [tensor.clone() for tensor in self._now]
        device = self._now[0].device
        self._updates = torch.zeros((), dtype=torch.float64, device=device)
        weights = {tensor.dtype: torch.zeros((), dtype=tensor.dtype, device=device) for tensor in self._mean}
        self._weights = list(weights.values())
        self._weight_of = [weights[tensor.dtype] for tensor in self._mean]

    def begin_(self) -> None:
        """Begin anew, with the present weights."""
        _copy_(self._mean, self._now)
        self._updates.zero_()

    @torch.no_grad()
    def update_(self) -> None:
        """Update the average with the present weights."""
        decay = ((self._updates + 1) / (self._updates + 10)).clamp(max=self._decay)
        for weight in self._weights:
            weight.copy_(1 - decay)
        if self._updates.is_cpu:
            # A list of weights: one 0-d tensor for all of them would be read back to the host.
            torch._foreach_lerp_(self._mean, self._now, self._weight_of)
        else:
            move_(self._mean, self._now, self._weights)
        self._updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Put the average into the network, and afterwards the trained weights again."""
        trained = [tensor.clone() for tensor in self._now]
        _copy_(self._now, self._mean)
        try:
            yield
        finally:
            _copy_(self._now, trained)

    def state(self) -> dict[str, Tensor]:
        """Return the average and the number of updates, by name; they are not copies."""
        means = {f"{_PREFIX}{name}": tensor for name, tensor in zip(self._names, self._mean, strict=True)}
        return {**means, _UPDATES: self._updates}

    def load_state_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the average to what `state` returned, in place; other names are ignored.

        Raises:
            KeyError: a tensor is not there.
            RuntimeError: a tensor has another shape.
        """
        for name, own in self.state().items():
            if tensors[name].shape != own.shape:
                raise RuntimeError(f"{name} is {tuple(tensors[name].shape)}, not {tuple(own.shape)}")
            own.copy_(tensors[name])


def move_(means: list[Tensor], now: list[Tensor], weights: list[Tensor]) -> None:
    """Move means towards what is now by a weight, in three kernels for each type; a list of 0-d weights would take one a tensor.

    Args:
        means: Changed in place.
        now: Of the same shapes and types.
        weights: A 0-d tensor for each type.
    """
    for weight in weights:
        mine = [(mean, tensor) for mean, tensor in zip(means, now, strict=True) if mean.dtype == weight.dtype]
        gaps = torch._foreach_sub([tensor for _, tensor in mine], [mean for mean, _ in mine])
        torch._foreach_mul_(gaps, weight)
        torch._foreach_add_([mean for mean, _ in mine], gaps)


@torch.no_grad()
def _copy_(targets: list[Tensor], sources: list[Tensor]) -> None:
    torch._foreach_copy_(targets, sources)
