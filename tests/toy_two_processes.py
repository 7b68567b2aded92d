"""Two processes that are none: of five images one after the other, what is asked of the other known in a second round, or threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from tlkit.engine.ranks.ranks import Alone, Ranks

Answer = TypeVar("Answer")
PARTS = ([0, 1, 2], [3, 4])


@dataclass(frozen=True)
class Remembering(Alone):
    """One of two processes: it keeps what it gives, and is served what both have given in the first round."""

    size: int = 2
    given: list[Tensor] = field(default_factory=list)
    served: tuple[list[Tensor], ...] = ()

    def stacked(self, tensor: Tensor) -> Tensor:
        number = len(self.given)
        self.given.append(tensor)
        return torch.stack([each[number] for each in self.served] if self.served else [tensor, tensor])


def both(part: Callable[[list[int], Ranks], Answer]) -> tuple[Answer, Answer]:
    """Return what each of two processes computes.

    Args:
        part: Computes it of some of the five images, as one of these processes.
    """
    asked = [Remembering(rank=rank) for rank in range(2)]
    for mine, ranks in zip(PARTS, asked, strict=True):
        part(mine, ranks)
    served = tuple(ranks.given for ranks in asked)
    first, second = (part(mine, Remembering(rank=rank, served=served)) for rank, mine in enumerate(PARTS))
    return first, second


@dataclass(frozen=True)
class Threads(Alone):
    """One of two processes, in a thread, which add up what they have."""

    size: int = 2
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    tensors: dict[int, Tensor] = field(default_factory=dict)

    def sum_(self, tensor: Tensor) -> None:
        self.tensors[self.rank] = tensor.clone()
        self.barrier.wait(60)
        tensor.copy_(self.tensors[0] + self.tensors[1])
        self.barrier.wait(60)


def at_once(make: Callable[[Ranks], Answer], take: Callable[[Answer, Ranks], None]) -> tuple[Answer, Answer]:
    """Make something for each of two processes, one after the other, and let both take their turn while they add up tensors."""
    first = Threads()
    ranks = [replace(first, rank=rank) for rank in range(2)]
    mine, theirs = map(make, ranks)

    def one(made: Answer, at: Ranks) -> None:
        try:
            take(made, at)
        except BaseException:
            first.barrier.abort()
            raise

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, (mine, theirs), ranks))
    return mine, theirs
