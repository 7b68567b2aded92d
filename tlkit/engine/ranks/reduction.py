"""What the processes of a run add up in every training step: gradients, sums, and running statistics that each has of its own.

The rule: one flat tensor for each type, whose address stays, and no number is read back: with NCCL a step with its sums is one graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlkit.engine.ranks.ranks import Ranks
from tlkit.engine.ranks.shares import Whole

_LOSS, _AUX, _CORRECT, _PREDICTIONS, _BAD, _COLUMNS = range(6)


@dataclass(frozen=True)
class Counted:
    """What a batch comes to, all processes together: 0-d tensors, float64.

    Attributes:
        loss: Sum over its images.
        aux_loss: The same of the auxiliary heads.
        correct: Correct predictions.
        predictions: How many there are.
        bad: On how many processes the loss is not a number.
    """

    loss: Tensor
    aux_loss: Tensor
    correct: Tensor
    predictions: Tensor
    bad: Tensor


class Reduction:
    """The sums of one phase over all processes.

    Args:
        ranks: The processes.
        network: Whose norms in training mode have running statistics.
        parameters: That train in this phase.
        batches: Batches of an accumulation group, at most.
        device: The network's.
    """

    def __init__(
        self, ranks: Ranks, network: nn.Module, parameters: Iterable[nn.Parameter], *, batches: int, device: torch.device
    ) -> None:
        self._ranks = ranks
        self._parameters = list(parameters)
        self._running = list(running(network))
        self._counted = torch.zeros(batches, _COLUMNS, dtype=torch.float64, device=device)
        self._flat: list[Tensor] = []
        self._views = self._places([*self._parameters, *self._running])

    def note_(
        self, number: int, *, counted: int | Tensor, loss: Tensor, total: Tensor, correct: Tensor, predictions: int | Tensor
    ) -> None:
        """Keep what a batch comes to here: mean losses of this process's images, which count as many; predictions that count."""
        row = self._counted[number]
        row[_LOSS] = loss * counted
        row[_CORRECT] = correct
        row[_PREDICTIONS].fill_(predictions)
        row[_BAD] = (~torch.isfinite(total)).double()

    def note_aux_(self, number: int, *, counted: int | Tensor, loss: Tensor) -> None:
        """Add the mean loss of an auxiliary head of a batch."""
        self._counted[number, _AUX] += loss * counted

    def begin_(self) -> None:
        """Begin a step."""
        self._counted.zero_()

    @torch.no_grad()
    def sum_(self, whole: Whole, *, synced: bool) -> list[Counted]:
        """Set gradients to their sums over all processes, and running statistics to their means unless they are the same already.

        Args:
            whole: What the batches of the step have.
            synced: BatchNorm has normalised over all processes.

        Returns:
            What each batch comes to.
        """
        count = len(self._parameters)
        graded = [(view, p) for view, p in zip(self._views, self._parameters, strict=False) if p.grad is not None]
        for view, parameter in zip(self._views, self._parameters, strict=False):
            if parameter.grad is None:
                view.zero_()
        torch._foreach_copy_([view for view, _ in graded], [p.grad for _, p in graded if p.grad is not None])
        weight = 0.0 if synced else sum(whole.counts) / whole.images
        for view, buffer in zip(self._views[count:], self._running, strict=True):
            view.copy_(buffer).mul_(weight)
        for flat in (*self._flat, self._counted):
            self._ranks.sum_(flat)
        for view, parameter in graded:
            parameter.grad = view
        if not synced:
            for view, buffer in zip(self._views[count:], self._running, strict=True):
                buffer.copy_(view)
        return [Counted(*row.unbind()) for row in self._counted[: len(whole.batches)]]

    def _places(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return a place for each tensor in the flat one of its type, in its order in memory."""
        sizes: dict[torch.dtype, int] = {}
        for tensor in tensors:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
        flat = {dtype: torch.zeros(size, dtype=dtype, device=self._counted.device) for dtype, size in sizes.items()}
        self._flat = list(flat.values())
        begin, views = dict.fromkeys(flat, 0), []
        for tensor in tensors:
            at = begin[tensor.dtype]
            views.append(flat[tensor.dtype][at : at + tensor.numel()].as_strided(tensor.shape, tensor.stride(), at))
            begin[tensor.dtype] = at + tensor.numel()
        return views


def running(network: nn.Module) -> Iterable[Tensor]:
    """Yield the running statistics that training steps change: of norms in training mode."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.training and module.running_mean is not None:
            assert module.running_var is not None
            yield from (module.running_mean, module.running_var)
