"""Random tensors for deep networks."""

import math

import torch
from torch import Tensor, nn


def tensors(net: nn.Module) -> dict[str, Tensor]:
    """Random tensors with which a deep network's output neither vanishes nor overflows."""
    draw, found = torch.Generator().manual_seed(0), {}
    for name, tensor in net.state_dict().items():
        if not tensor.is_floating_point():
            found[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        elif tensor.ndim > 1:
            bound = math.sqrt(6 / math.prod(tensor.shape[1:]))
            found[name] = torch.empty(tensor.shape).uniform_(-bound, bound, generator=draw)
        else:
            low, high = (-0.1, 0.1) if name.endswith(("bias", "running_mean")) else (0.5, 1.5)
            found[name] = torch.empty(tensor.shape).uniform_(low, high, generator=draw)
    return found
