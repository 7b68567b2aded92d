"""The ResNets for CIFAR as stages."""

from functools import partial

import torch
from torch import Tensor, nn

from tlkit.network import Stage


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters: He et al. 2016, sections 3.3 and 4.2, option A.

    Args:
        before: Channels of the input.
        channels: Of the output; twice as many halve the resolution.
    """

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.stride, self.added = channels // before, channels - before
        self.conv1 = nn.Conv2d(before, channels, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, h / stride, w / stride)."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        y = self.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


def _stages(depth: int) -> dict[str, nn.Module]:
    count = (depth - 2) // 6  # blocks a stage: a depth of 6n + 2
    conv1, bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    stages: dict[str, nn.Module] = {"stem": Stage({"conv1": conv1, "bn1": bn1, "relu": nn.ReLU(inplace=True)})}
    before = 16
    for number, channels in enumerate((16, 32, 64), start=1):
        blocks = [Block(before if first == 0 else channels, channels) for first in range(count)]
        stages[f"layer{number}"] = Stage({f"layer{number}": nn.Sequential(*blocks)})
        before = channels
    for stage in stages.values():
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # section 3.4 names He et al. 2015, arXiv:1502.01852
    return stages


# Each builds its network without its classifier.
resnet20 = partial(_stages, 20)
resnet32 = partial(_stages, 32)
resnet44 = partial(_stages, 44)
resnet56 = partial(_stages, 56)
