"""A `ComputeFormat` in torch's words: dtypes, memory formats, and how modules and tensors are put into one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlkit.record.formats import ComputeFormat

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def in_form_(module: nn.Module, compute_format: ComputeFormat) -> nn.Module:
    """Put a module's tensors into a precision and memory format."""
    return module.to(DTYPES[compute_format.precision]).to(memory_format=LAYOUTS[compute_format.layout])


def cast(x: Tensor, compute_format: ComputeFormat) -> Tensor:
    """Return a feature map (N, C, h, w) in a precision and memory format; of other tensors only the precision."""
    x = x.to(DTYPES[compute_format.precision])
    return x.contiguous(memory_format=LAYOUTS[compute_format.layout]) if x.ndim == 4 else x
