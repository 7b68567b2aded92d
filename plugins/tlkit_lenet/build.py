"""LeNet-5's layers."""

import math

import torch
from torch import Tensor, nn

from tlkit.network import Stage


class ScaledTanh(nn.Module):
    """1.7159 tanh(2/3 x): LeCun et al. 1998, equation 6 and appendix A."""

    def forward(self, x: Tensor) -> Tensor:
        """Squash any tensor."""
        return 1.7159 * torch.tanh(x * (2 / 3))


def lenet5() -> dict[str, nn.Module]:
    """Build LeNet-5 up to F6, 84 values."""
    c1 = nn.Conv2d(3, 6, kernel_size=5)  # (N, 6, 28, 28) of 32 px
    c3 = nn.Conv2d(6, 16, kernel_size=5)  # (N, 16, 10, 10)
    c5 = nn.Conv2d(16, 120, kernel_size=5)  # (N, 120, 1, 1)
    f6 = nn.Linear(120, 84)
    for layer in (c1, c3, c5, f6):
        bound = 2.4 / math.prod(layer.weight.shape[1:])  # appendix A: uniform within 2.4 / fan-in
        nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.zeros_(layer.get_parameter("bias"))
    return {
        "c1": Stage({"c1": c1, "squash1": ScaledTanh(), "s2": nn.AvgPool2d(2)}),
        "c3": Stage({"c3": c3, "squash3": ScaledTanh(), "s4": nn.AvgPool2d(2)}),
        "c5": Stage({"c5": c5, "squash5": ScaledTanh(), "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}),
        "f6": Stage({"f6": f6, "squash6": ScaledTanh()}),
    }
