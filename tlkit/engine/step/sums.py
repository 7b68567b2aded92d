"""Sums of an epoch's steps: tensors on the device that keep their addresses, which a captured step adds to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tlkit.engine.ranks.reduction import Counted


@dataclass(frozen=True)
class Sums:
    """Sums over the steps since `Step.begin_`: loss, correct predictions, images.

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


class EpochSums:
    """The sums on the device, and what is asked of them without waiting for it.

    Args:
        device: The device that the network is on.
        groups: Names of the optimizer's groups, in its order.
        static: Do the same operators in every step, as a graph needs.
    """

    def __init__(self, device: torch.device, groups: Iterable[str], *, static: bool) -> None:
        self._groups = list(groups)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._aux_loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._predictions = torch.zeros((), dtype=torch.int64, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._norms = torch.zeros(len(self._groups), dtype=torch.float32, device=device)
        self._none = torch.zeros((), dtype=torch.float32, device=device)
        # The CPU's memory is the host's, so there the norms wait for a bad step: a pass over the gradients that is saved.
        self._seen = None if static or device.type != "cpu" else self._bad.numpy()

    def clear_(self) -> None:
        """Begin anew."""
        for total in (self._loss, self._aux_loss, self._correct, self._predictions, self._count, self._norms):
            total.zero_()
        self._bad.fill_(-1)

    def state(self) -> dict[str, Tensor]:
        """Return the sums by name, as a checkpoint has them; they are not copies."""
        sums = {"loss": self._loss, "aux_loss": self._aux_loss, "correct": self._correct, "predictions": self._predictions}
        rest = {"batches": self._count, "bad": self._bad, "norms": self._norms}
        return {f"sums/{name}": tensor for name, tensor in (sums | rest).items()}

    def so_far(self) -> Tensor:
        """Return, on the device, the sum of the loss, and the first batch whose loss is not finite, -1 for none: (2,)."""
        return torch.stack([self._loss, self._bad.double()])

    def read(self, *, with_aux: bool, trained: Iterable[int]) -> Sums:
        """Read the sums from the device, all at once.

        Args:
            with_aux: Auxiliary heads run.
            trained: Numbers of the groups that train.
        """
        counts = [each.double() for each in (self._correct, self._predictions, self._bad)]  # exact up to 2**53
        loss, aux_loss, correct, predictions, bad, *norms = torch.cat(
            [torch.stack([self._loss, self._aux_loss, *counts]), self._norms.double()]
        ).tolist()
        groups = sorted(set(trained)) if bad >= 0 else ()
        return Sums(
            loss, aux_loss if with_aux else None, int(correct), int(predictions), int(bad),
            {self._groups[index]: norms[index] for index in groups},
        )  # fmt: skip

    def known(self) -> Tensor:
        """Return, on the device, whether there was a bad step."""
        return self._bad >= 0

    def wants_norms(self) -> bool:
        """Return whether somebody may read the norms of the step that is taken now."""
        return self._seen is None or bool(self._seen >= 0)

    def add_(self, loss: Tensor, total: Tensor, *, counted: int | Tensor, correct: Tensor, predictions: Tensor | int) -> None:
        """Add a batch.

        Args:
            loss: Mean loss of its images.
            total: The loss that the gradients are of.
            counted: Images that it stands for.
            correct: Correct predictions.
            predictions: How many there are.
        """
        _add_(self._loss, loss, counted)
        self._correct += correct
        self._predictions += predictions
        self._settle_(torch.isfinite(total))

    def add_aux_(self, loss: Tensor, *, counted: int | Tensor) -> None:
        """Add the mean loss of an auxiliary head."""
        _add_(self._aux_loss, loss, counted)

    def add_whole_(self, counted: Counted) -> None:
        """Add a batch of all processes."""
        self._loss += counted.loss
        self._aux_loss += counted.aux_loss
        self._correct += counted.correct.long()
        self._predictions += counted.predictions.long()
        self._settle_(counted.bad == 0)

    def keep_norms_(self, known: Tensor, groups: Sequence[int], norms: Sequence[Tensor]) -> None:
        """Keep the norm of every group up to and including the first bad step.

        Args:
            known: Whether there was a bad step before this one.
            groups: Of each gradient, the number of its group.
            norms: Of each gradient.
        """
        parts: list[list[Tensor]] = [[] for _ in self._groups]
        for group, norm in zip(groups, norms, strict=True):
            parts[group].append(norm)
        found = [torch.linalg.vector_norm(torch.stack(part)) if part else self._none for part in parts]
        self._norms.copy_(torch.where(known, self._norms, torch.stack(found)))

    def _settle_(self, sound: Tensor) -> None:
        """Remember the first batch whose loss is not a number, and count batches."""
        settled = sound | (self._bad >= 0)
        self._bad.copy_(torch.where(settled, self._bad, self._count))
        self._count += 1


def _add_(total: Tensor, loss: Tensor, counted: int | Tensor) -> None:
    """Add a mean loss to a sum, in float64."""
    if isinstance(counted, Tensor):
        total += loss * counted
    else:
        total.add_(loss, alpha=counted)
