"""The network of EfficientNet-Lite0, and the way from its weight file's names to timm's.

Source: Tan & Le 2019, arXiv:1905.11946, table 1; the Lite release drops squeeze-excite and takes ReLU6 for swish:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlkit.errors import WeightsError
from tlkit.network import Stage


class _Row(NamedTuple):
    kernel: int
    stride: int  # of the first block; the others have 1
    expansion: int
    channels: int
    repeats: int


_TABLE = (  # side of the output at 224 pixels
    _Row(kernel=3, stride=1, expansion=1, channels=16, repeats=1),  # 112
    _Row(kernel=3, stride=2, expansion=6, channels=24, repeats=2),  # 56
    _Row(kernel=5, stride=2, expansion=6, channels=40, repeats=2),  # 28
    _Row(kernel=3, stride=2, expansion=6, channels=80, repeats=3),  # 14
    _Row(kernel=5, stride=1, expansion=6, channels=112, repeats=3),  # 14
    _Row(kernel=5, stride=2, expansion=6, channels=192, repeats=4),  # 7
    _Row(kernel=3, stride=1, expansion=6, channels=320, repeats=1),  # 7
)
_STEM = 32  # channels, the same in every Lite size
_FEATURES = 1280
_CLASSES = 1000
_EPS = 1e-3  # of batch normalisation, TensorFlow's; the momentum stays torch's 0.1, as in timm (TensorFlow: 0.01)


def efficientnet_lite0() -> dict[str, nn.Module]:
    """Return the stages in order, with random weights.

    Together they map (N, 3, H, W) to (N, 1280, ceil(H / 32), ceil(W / 32)).
    """
    stages: dict[str, nn.Module] = {
        "stem": Stage({"conv_stem": _conv(3, _STEM, 3, stride=2), "bn1": _norm(_STEM), "act1": nn.ReLU6(inplace=True)})
    }
    channels = _STEM
    for number, row in enumerate(_TABLE):
        stages[f"blocks{number}"] = Stage({f"blocks.{number}": _blocks(channels, row)})
        channels = row.channels
    stages["top"] = Stage({"conv_head": _conv(channels, _FEATURES, 1), "bn2": _norm(_FEATURES), "act2": nn.ReLU6(inplace=True)})
    return stages


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the file's tensors under timm's names.

    The file counts blocks without a break and normalisations from 0, but its order is timm's, so position decides.

    Args:
        tensors: Name -> tensor, in the file's order, with the classifier of 1000 classes.

    Raises:
        WeightsError: the number of tensors, a shape, or the last part of a name ("weight", "running_mean") differs.
    """
    expected = _shapes()
    right = f"right are the {len(expected)} tensors of efficientnet-lite0-57934424.pth, in the order of that file"
    if len(tensors) != len(expected):
        raise WeightsError(f"efficientnet_lite0: the weights have {len(tensors)} tensors instead of {len(expected)}.", right)
    renamed = {}
    for (found, tensor), (name, shape) in zip(tensors.items(), expected.items()):
        # The four vectors of a normalisation have one shape: only their names show an exchange.
        if found.rpartition(".")[2] != name.rpartition(".")[2]:
            raise WeightsError(f'efficientnet_lite0: weights: "{found}" stands in the place of {name}.', right)
        if tensor.shape != shape:
            raise WeightsError(
                f'efficientnet_lite0: weights: "{found}" has shape {tuple(tensor.shape)}, {name} has {tuple(shape)}.', right
            )
        renamed[name] = tensor
    return renamed


def _shapes() -> dict[str, torch.Size]:
    """Return name -> shape of every tensor of the whole network in order, the classifier last."""
    with torch.device("meta"):
        stages = efficientnet_lite0()
        classifier = nn.Linear(_FEATURES, _CLASSES)
    shapes = {name: tensor.shape for stage in stages.values() for name, tensor in stage.state_dict().items()}
    return shapes | {f"classifier.{name}": tensor.shape for name, tensor in classifier.state_dict().items()}


def _blocks(channels: int, row: _Row) -> nn.Sequential:
    """Return the blocks of one row of the table; only the first changes size and channels."""
    block = _Separable if row.expansion == 1 else _Inverted
    first = block(channels, row, stride=row.stride)
    return nn.Sequential(first, *(block(row.channels, row, stride=1) for _ in range(row.repeats - 1)))


class _Separable(nn.Module):
    """Depthwise, then pointwise convolution: an inverted residual block whose expansion is 1."""

    def __init__(self, channels: int, row: _Row, *, stride: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels == row.channels
        self.conv_dw = _conv(channels, channels, row.kernel, stride=stride, groups=channels)
        self.bn1 = _norm(channels)
        self.conv_pw = _conv(channels, row.channels, 1)
        self.bn2 = _norm(row.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        y: Tensor = F.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        y = self.bn2(self.conv_pw(y))  # no activation: Sandler et al. 2018, arXiv:1801.04381, section 3.2
        return x + y if self.shortcut else y


class _Inverted(nn.Module):
    """Widen, convolve each channel alone, narrow: Sandler et al. 2018, arXiv:1801.04381, table 1."""

    def __init__(self, channels: int, row: _Row, *, stride: int) -> None:
        super().__init__()
        wide = channels * row.expansion
        self.shortcut = stride == 1 and channels == row.channels
        self.conv_pw = _conv(channels, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = _conv(wide, wide, row.kernel, stride=stride, groups=wide)
        self.bn2 = _norm(wide)
        self.conv_pwl = _conv(wide, row.channels, 1)
        self.bn3 = _norm(row.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        y: Tensor = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)  # (N, 6 C, H, W)
        y = F.relu6(self.bn2(self.conv_dw(y)), inplace=True)  # (N, 6 C, H', W')
        y = self.bn3(self.conv_pwl(y))  # (N, C', H', W')
        return x + y if self.shortcut else y


class _SameConv(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME padding: ceil(side / stride), an odd pixel goes right and below.

    Which pixels a stride meets depends on the side, so a fixed padding cannot do it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        height, width = (self._missing(x.shape[axis]) for axis in (-2, -1))
        x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(x)

    def _missing(self, side: int) -> int:
        """Return how many zeros one axis needs, both ends together."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        return max((-(-side // stride) - 1) * stride + kernel - side, 0)


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, its weights drawn as in the release (fan-out of one group)."""
    if stride == 1:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    else:
        conv = _SameConv(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
    nn.init.normal_(conv.weight, std=math.sqrt(2 * groups / (kernel * kernel * outputs)))
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS)
