"""Functions of torch that depend on the whole batch, of which a process has a part: random numbers and, where asked for, BatchNorm.

The rule: the network is not changed; `OtherFunctions` sees the functions that its modules call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch.nn import functional

from tlkit.engine.other_functions import Function, OtherFunctions
from tlkit.engine.ranks import batch_norm, noise
from tlkit.engine.ranks.noise import Rows
from tlkit.engine.ranks.ranks import Ranks
from tlkit.engine.ranks.shares import Composition


def seen(ranks: Ranks, batch: Composition, *, synced: bool) -> AbstractContextManager[object]:
    """Return a context manager for the forward pass of this process's share of a batch.

    Args:
        ranks: The processes.
        batch: The whole batch.
        synced: BatchNorm normalises over all processes.
    """
    if ranks.size == 1:
        return nullcontext()
    rows = Rows(tuple((each.start, each.stop) for each in batch.shares(ranks.rank, ranks.size)), batch.whole)
    functions: dict[Callable[..., object], Function] = {
        functional.dropout: partial(noise.dropout, rows),
        **{each: partial(noise.feature_dropout, rows) for each in (functional.dropout1d, functional.dropout2d, functional.dropout3d)},
        torch.Tensor.bernoulli_: partial(noise.bernoulli_, rows),
    }  # fmt: skip
    if synced:
        functions[functional.batch_norm] = partial(batch_norm.batch_norm, ranks, batch.counts(ranks.size))
    return OtherFunctions(functions)
