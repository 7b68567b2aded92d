"""The network of dlib's face recognition, under face-api's names.

Sources: dlib's examples/dnn_face_recognition_ex.cpp (a ResNet-34 with fewer layers and half the filters, He et al. 2016,
arXiv:1512.03385) and face-api 1.7.15, src/faceRecognitionNet.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlkit.network import Stage
from tlkit_dlib_face import BLOCKS

_STEM = 32  # channels


def dlib_face_resnet29() -> dict[str, nn.Module]:
    """Return the stages in order, with random weights.

    Together they map (N, 3, 150, 150) to (N, 256, 2, 2).
    """
    stem = Stage({"conv32_down": Convolution(3, _STEM, 7, stride=2, padding=0), "relu": nn.ReLU(), "pool": nn.MaxPool2d(3, 2)})
    stages: dict[str, nn.Module] = {"stem": stem}
    before = _STEM
    for stage, names in BLOCKS.items():
        blocks: dict[str, nn.Module] = {}
        for name in names:
            channels = int(name.removeprefix("conv").partition("_")[0])
            blocks[name] = Block(before, channels, down="down" in name)
            before = channels
        stages[stage] = Stage(blocks)
    return stages


class Convolution(nn.Module):
    """A convolution, then a factor and a summand for each channel: dlib's affine layer, which BatchNorm is after training.

    It has no statistics of a batch, so it is the same function in training and in evaluation.
    """

    def __init__(self, before: int, channels: int, kernel: int, *, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, channels, kernel, stride=stride, padding=padding)
        self.scale = Scale(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]  # a convolution may have none, this one has

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        scaled: Tensor = self.scale(self.conv(x))
        return scaled


class Scale(nn.Module):
    """A factor and a summand for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters.

    Where it halves the resolution, the shortcut is the mean of 2 x 2 pixels with zeros for new channels, and the first convolution has
    no padding. At an even side that gives a pixel less than the shortcut, so zeros are added to the right and below.

    Args:
        before: Channels of the input.
        channels: Of the output.
        down: Whether it halves the resolution.
    """

    def __init__(self, before: int, channels: int, *, down: bool) -> None:
        super().__init__()
        self.down, self.added = down, channels - before
        self.conv1 = Convolution(before, channels, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.conv2 = Convolution(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H, W), or to (N, C', H / 2, W / 2) rounded down."""
        y: Tensor = self.conv2(F.relu(self.conv1(x)))
        if self.down:
            x = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 0, self.added))
            y = F.pad(y, (0, x.shape[-1] - y.shape[-1], 0, x.shape[-2] - y.shape[-2]))
        return F.relu(x + y)
