"""Five images that two processes share, computed one after the other: what a process asks the other for is known in a second round."""

from collections.abc import Callable
from dataclasses import dataclass, field
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
