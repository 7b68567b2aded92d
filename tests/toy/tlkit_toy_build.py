"""The toy backbone's module: BatchNorm in every stage, dropout in the last."""

import torch
from torch import Tensor, nn

from tlkit.network.stages import Stage
from tlkit.plugin import FeatureMap


class ToyNet(nn.Module):
    """The "library's" own network, as its users would build it."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.block1 = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.block2 = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 8, H, W)
        x = self.block2(self.block1(x))  # (N, 16, H / 2, W / 2)
        return self.fc(self.pool(x).flatten(1))  # (N, classes)


def toy() -> dict[str, nn.Module]:
    net = ToyNet()
    stem = Stage({"conv1": net.conv1, "bn1": net.bn1, "relu": net.relu})
    return {"stem": stem, "block1": Stage({"block1": net.block1}), "block2": Stage({"block2": net.block2})}


class ToyAux(nn.Module):
    """An auxiliary classifier on block1: a convolution, BatchNorm, and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 6, 1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.functional.adaptive_avg_pool2d(self.bn(self.conv(x)), 1).flatten(1))  # (N, classes)


class ToyTapped(ToyNet):
    """The same network with an auxiliary classifier, whose answer a training loop gets beside the other."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__(classes)
        self.aux = ToyAux(classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.block1(self.relu(self.bn1(self.conv1(x))))
        logits = self.fc(self.pool(self.block2(x)).flatten(1))
        return (logits, self.aux(x)) if self.training else logits


def toy_tapped() -> dict[str, nn.Module]:
    return toy()


def aux(classes: int) -> nn.Module:
    return ToyAux(classes)


class ToyMaps(nn.Module):
    """A linear layer on the mean of every map."""

    def __init__(self, features: tuple[FeatureMap, ...], classes: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(features[0].channels, 4, 3, padding=1)
        self.fc = nn.Linear(4 + sum(each.channels for each in features[1:]), classes)

    def forward(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        first, *deeper = maps
        return self.fc(torch.cat([each.mean((2, 3)) for each in (self.mix(first), *deeper)], dim=1))


def toy_maps(features: tuple[FeatureMap, ...], classes: int, options: None) -> nn.Module:
    return ToyMaps(features, classes)
