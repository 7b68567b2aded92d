"""Random numbers for the whole batch, of which a process takes those of its images.

The rule: the generators have the same states on all processes, so an image is dropped alike whichever process has it, and a checkpoint
holds one state for all. On a CPU the numbers are those of one process, bit for bit; torch has other kernels for dropout on a GPU.
An image may have several rows, as where windows or tokens are folded into the first dimension. What has fewer rows than there are images,
or no whole number for each, is not of the images one by one: torch draws it, alike on all processes if it is as large on each.

Source: `_dropout_impl` in aten/src/ATen/native/Dropout.cpp
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Which images of a batch are here.

    Attributes:
        ranges: Each from a first up to, not including, a last, in the order in which they are here.
        images: Of the whole batch.
    """

    ranges: tuple[tuple[int, int], ...]
    images: int

    @property
    def here(self) -> int:
        """How many."""
        return sum(stop - start for start, stop in self.ranges)

    def of(self, noise: Tensor, each: int) -> Tensor:
        """Return the noise of these images, of which each has so many rows, from that of the whole batch."""
        found = [noise[start * each : stop * each] for start, stop in self.ranges]
        return found[0] if len(found) == 1 else torch.cat(found)


def dropout(rows: Rows, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor | None:
    """Compute `torch.nn.functional.dropout`; None where torch must."""
    return _dropped(rows, input, input.shape, p, training, inplace)


def feature_dropout(rows: Rows, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor | None:
    """Compute `torch.nn.functional.dropout1d`, `dropout2d` and `dropout3d` of batches, which drop whole channels; None where torch must."""
    if input.ndim < 3:
        return None
    return _dropped(rows, input, (*input.shape[:2], *[1] * (input.ndim - 2)), p, training, inplace)


def bernoulli_(rows: Rows, tensor: Tensor, p: float | Tensor = 0.5, **keywords: torch.Generator | None) -> Tensor | None:
    """Compute `torch.Tensor.bernoulli_` of noise with rows for each image, as stochastic depth draws it; None of other noise."""
    each = _rows_each(rows, tensor)
    if each == 0 or isinstance(p, Tensor):
        return None
    return tensor.copy_(rows.of(_whole(rows, tensor, tensor.shape).bernoulli_(p, **keywords), each))


def _dropped(rows: Rows, input: Tensor, shape: Sequence[int], p: float, training: bool, inplace: bool) -> Tensor | None:
    each = _rows_each(rows, input)
    if not training or not 0.0 < p < 1.0 or each == 0:
        return None
    noise = rows.of(_whole(rows, input, shape).bernoulli_(1 - p).div_(1 - p), each)
    return input.mul_(noise) if inplace else input * noise


def _rows_each(rows: Rows, tensor: Tensor) -> int:
    """Return how many rows of a tensor each image has; 0 where they are not the images'."""
    return 0 if tensor.ndim == 0 or len(tensor) % rows.here else len(tensor) // rows.here


def _whole(rows: Rows, like: Tensor, shape: Sequence[int]) -> Tensor:
    """Return memory for noise of the whole batch, in the order that torch gives noise like a tensor."""
    last = like.ndim == 4 and not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return torch.empty(
        (rows.images * _rows_each(rows, like), *shape[1:]), dtype=like.dtype, device=like.device, memory_format=order
    )
