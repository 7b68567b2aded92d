"""A `Form` in torch's words: dtypes, memory formats, and how modules and tensors are put into one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlkit.record.formats import Form

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def in_form_(module: nn.Module, form: Form) -> nn.Module:
    """Put a module's tensors into a precision and memory format."""
    return module.to(DTYPES[form.precision]).to(memory_format=LAYOUTS[form.layout])


def cast(x: Tensor, form: Form) -> Tensor:
    """Return a feature map (N, C, h, w) in a precision and memory format; of other tensors only the precision."""
    x = x.to(DTYPES[form.precision])
    return x.contiguous(memory_format=LAYOUTS[form.layout]) if x.ndim == 4 else x
