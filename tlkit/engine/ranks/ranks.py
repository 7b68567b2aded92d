"""The processes of one run as a group: sums, rows in order, texts, flags. A single process is a group too: it sends nothing.

The rule: every process calls the same functions in the same order, so what decides whether one is called is the same on all of them.
Sums of a GPU's tensors go through NCCL and may be part of a captured graph; everything else goes through gloo and the host's memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tlkit.engine.ranks.shares import Indices, of_evaluation, of_work
from tlkit.errors import Interrupted, OutOfTime, RankLost, reason

_REMARK = re.compile(r"\[/\S+\] ")  # where in gloo's source an error is raised


class Ranks(Protocol):
    """A group of processes.

    Attributes:
        rank: The number of this one, from 0.
        size: How many there are.
        local_rank: Its number among those of its machine.
        local_size: How many there are on its machine.
        deadline: Called between two steps where all can stop together; raises OutOfTime where the time of the first process is over.
    """

    @property
    def rank(self) -> int: ...  # noqa: D102  # as above

    @property
    def size(self) -> int: ...  # noqa: D102  # likewise

    @property
    def local_rank(self) -> int: ...  # noqa: D102  # likewise

    @property
    def local_size(self) -> int: ...  # noqa: D102  # likewise

    @property
    def deadline(self) -> Callable[[], None]: ...  # noqa: D102  # likewise

    def sum_(self, tensor: Tensor) -> None:
        """Set a contiguous tensor to its sum over all processes, which has the same bits on each."""

    def stacked(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, which have one shape, as (size, ...)."""

    def gathered(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes (n, ...) on the CPU, those of the first process first; their numbers may differ."""

    def texts(self, text: str) -> list[str]:
        """Return the texts of all processes."""

    def told(self, text: str) -> str:
        """Return the first process's text."""

    def told_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the first process's tensors by name, on the CPU."""

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set on one of the processes."""

    def wait(self) -> None:
        """Wait until every process is here."""


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    deadline: Callable[[], None] = lambda: None

    def sum_(self, tensor: Tensor) -> None:
        """Leave it as it is."""

    def stacked(self, tensor: Tensor) -> Tensor:
        """Return it as (1, ...)."""
        return tensor[None]

    def gathered(self, rows: Tensor) -> Tensor:
        """Return them."""
        return rows

    def texts(self, text: str) -> list[str]:
        """Return it."""
        return [text]

    def told(self, text: str) -> str:
        """Return it."""
        return text

    def told_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return them."""
        return dict(tensors)

    def any(self, flag: bool) -> bool:
        """Return it."""
        return flag

    def wait(self) -> None:
        """Do nothing."""


ALONE: Ranks = Alone()


@dataclass(frozen=True)
class Group:
    """Several processes, after `torch.distributed.init_process_group`.

    A call that another process does not answer, because it ended, raises `RankLost`.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    deadline: Callable[[], None] = lambda: None

    def sum_(self, tensor: Tensor) -> None:
        """See `Ranks`."""
        with _answered():
            dist.all_reduce(tensor)

    def stacked(self, tensor: Tensor) -> Tensor:
        """See `Ranks`."""
        found = tensor.new_empty((self.size, *tensor.shape))
        with _answered():
            dist.all_gather(list(found.unbind()), tensor.contiguous())
        return found

    def gathered(self, rows: Tensor) -> Tensor:
        """See `Ranks`."""
        rows = rows.cpu()
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(rows)
        self.sum_(counts)
        padded = rows.new_zeros((int(counts.max()), *rows.shape[1:]))
        padded[: len(rows)] = rows
        found = self.stacked(padded)
        return torch.cat([each[:count] for each, count in zip(found, counts.tolist(), strict=True)])

    def texts(self, text: str) -> list[str]:
        """See `Ranks`."""
        encoded = _encoded(text)
        lengths = self.gathered(torch.tensor([len(encoded)])).tolist()
        return [_decoded(each) for each in torch.split(self.gathered(encoded), lengths)]

    def told(self, text: str) -> str:
        """See `Ranks`."""
        return self.texts(text if self.rank == 0 else "")[0]

    def told_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Ranks`."""
        listed = [[name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()]
        found = {}
        for name, dtype, shape in json.loads(self.told(json.dumps(listed))):
            here = tensors[name].detach().cpu().contiguous() if self.rank == 0 else None
            tensor = torch.empty(shape, dtype=getattr(torch, dtype)) if here is None else here
            with _answered():
                dist.broadcast(tensor, src=0)
            found[name] = tensor
        return found

    def any(self, flag: bool) -> bool:
        """See `Ranks`."""
        found = torch.tensor([int(flag)])
        self.sum_(found)
        return bool(found)

    def wait(self) -> None:
        """See `Ranks`."""
        self.any(False)


def turns(ranks: Ranks) -> Iterator[Callable[[Indices], Indices]]:
    """Yield functions from all rows to those that this process computes where they are missing, one for each turn.

    At first each process has a part. Where processes of other machines have a store of their own, those of one machine then divide what
    they cannot see; and at last each has what is still missing, which the others could not store. A part does not depend on what is
    missing, since that changes while others are at work. All begin a turn together.
    """
    if ranks.size > 1:
        for rank, size in ((ranks.rank, ranks.size), (ranks.local_rank, ranks.local_size)):
            yield partial(of_work, rank=rank, size=size)
            ranks.wait()
    yield lambda rows: rows


def ask_together(ranks: Ranks, watch: Callable[[], None]) -> None:
    """Ask between two steps whether to stop, so that all processes stop after the same step.

    Raises:
        Interrupted: a signal came here, or to another process.
        OutOfTime: the deadline of one of several processes is over.
    """
    if ranks.size == 1:
        watch()
        return
    stop: Interrupted | None = None
    try:
        watch()
        ranks.deadline()
    except Interrupted as error:
        stop = error
    if not ranks.any(stop is not None):
        return
    codes = ranks.gathered(torch.tensor([0 if stop is None else stop.exit_code - 128]))
    signum = int(codes.max())
    if signum <= 0:  # none of a signal
        raise stop or OutOfTime("stopped: another process has no time for more.")
    raise stop or Interrupted(signum, "stopped: another process got a signal.", "run the same command again to continue")


class Shared:
    """Which images of a part this process evaluates, and from their rows to those of all.

    Args:
        ranks: The processes.
        indices: Of the part, in order.
        batch: Images of a batch.
    """

    def __init__(self, ranks: Ranks, indices: Indices, batch: int) -> None:
        self._ranks, self._all = ranks, indices
        self.indices, self._counted = indices, len(indices)
        if ranks.size > 1 and len(indices):
            self.indices, self._counted = of_evaluation(indices, batch, ranks.rank, ranks.size)

    def together(self, rows: Tensor) -> Tensor:
        """Return the rows of all images in order, from those of `indices`."""
        return self._ranks.gathered(rows[: self._counted])

    def some(self, rows: Indices) -> Indices:
        """Return where in `indices` those rows of the part are that this process counts; in order, all processes have each once."""
        return np.flatnonzero(np.isin(self.indices[: self._counted], self._all[rows]))

    def some_together(self, own: Tensor) -> Tensor:
        """Return the values of rows of the part in order, from those of `some` of them."""
        return self._ranks.gathered(own)

    @property
    def total(self) -> int:
        """Images of the part."""
        return len(self._all)


@contextmanager
def _answered() -> Iterator[None]:
    """Say that another process has ended where torch says that a call failed."""
    try:
        yield
    except RuntimeError as error:  # of gloo; DistBackendError, of NCCL, is one
        raise RankLost(
            "another process of this run has ended, or cannot be reached.",
            "its own message says why; run the same command again to continue from the last checkpoint",
            f"torch says: {_REMARK.sub('', reason(error)).partition('. ')[0]}",
        ) from error


def _encoded(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _decoded(encoded: Tensor) -> str:
    return bytes(encoded.tolist()).decode()
