"""Count on a GPU how often each number stands in the rows of a tensor. The rule: nothing is read from the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Counters of each number, which neighbours share in turn: they often are the same number, and additions to one counter wait for each other.
COPIES = 32


def counted(numbers: Tensor, bins: int) -> Tensor:
    """Return how often each number stands in each row (n, bins) int32, added in any order: whole numbers add up to the same.

    Where torch is told to add in a fixed order it sorts the numbers first. `torch.use_deterministic_algorithms` would import torch's
    compiler, which takes seconds, and change its setting too.

    Args:
        numbers: (n, k) int64, from 0 to bins - 1.
        bins: How many numbers there are.
    """
    import torch

    found = torch.zeros(len(numbers), bins, dtype=torch.int32, device=numbers.device)
    one = torch.ones((), dtype=torch.int32, device=numbers.device)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        return found.scatter_add_(1, numbers, one.expand_as(numbers))
    finally:
        torch.set_deterministic_debug_mode(before)
