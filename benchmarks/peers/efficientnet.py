"""EfficientNet-Lite0 as plain torch, under timm's names, for environments without tlkit and timm.

Equal to plugins/tlkit-efficientnet-lite (a test holds them together), where the sources stand.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# kernel, stride of the first block, expansion, channels, repeats
_TABLE = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def efficientnet_lite0(classes: int) -> nn.Sequential:
    """Return the network; its children in order are its forward pass."""
    channels, rows = 32, []
    for kernel, stride, expansion, width, repeats in _TABLE:
        blocks = []
        for number in range(repeats):
            blocks.append(_Block(channels, width, kernel, stride if number == 0 else 1, expansion))
            channels = width
        rows.append(nn.Sequential(*blocks))
    parts = {
        "conv_stem": _conv(3, 32, 3, stride=2),
        "bn1": _norm(32),
        "act1": nn.ReLU6(inplace=True),
        "blocks": nn.Sequential(*rows),
        "conv_head": _conv(320, 1280, 1),
        "bn2": _norm(1280),
        "act2": nn.ReLU6(inplace=True),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "classifier": nn.Linear(1280, classes),
    }
    return nn.Sequential(OrderedDict(parts))


class _Block(nn.Module):
    """An inverted residual block; without the widening where the expansion is 1."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.shortcut = stride == 1 and channels == width
        self.widens = expansion > 1
        depthwise = _conv(wide, wide, kernel, stride=stride, groups=wide)
        if self.widens:
            self.conv_pw, self.bn1 = _conv(channels, wide, 1), _norm(wide)
            self.conv_dw, self.bn2 = depthwise, _norm(wide)
            self.conv_pwl, self.bn3 = _conv(wide, width, 1), _norm(width)
        else:
            self.conv_dw, self.bn1 = depthwise, _norm(wide)
            self.conv_pw, self.bn2 = _conv(wide, width, 1), _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        if self.widens:
            y = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
            y = F.relu6(self.bn2(self.conv_dw(y)), inplace=True)
            y = self.bn3(self.conv_pwl(y))
        else:
            y = F.relu6(self.bn1(self.conv_dw(x)), inplace=True)
            y = self.bn2(self.conv_pw(y))
        return x + y if self.shortcut else y


class _SameConv(nn.Conv2d):
    """TensorFlow's SAME padding: ceil(side / stride), an odd pixel goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(x)


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return _SameConv(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def load(path: str, classes: int) -> nn.Sequential:
    """Return the network with the weights of a state-dict file."""
    network = efficientnet_lite0(classes)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network
