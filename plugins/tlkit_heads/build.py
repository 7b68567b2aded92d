"""The trained heads' modules, (N, features) -> (N, classes)."""

import torch
from torch import Tensor, nn

from tlkit_heads import ConvOptions, CosineOptions, LinearOptions, MlpOptions


class Linear(nn.Linear):
    """A linear layer, with dropout before it; its own parameters are `weight` and `bias`."""

    def __init__(self, features: int, classes: int, options: LinearOptions) -> None:
        super().__init__(features, classes)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        return super().forward(self.dropout(x))


class Conv(nn.Conv2d):
    """A 1x1 convolution with dropout before it, ReLU and a mean over the picture after it: Iandola et al. 2016, figure 2."""

    def __init__(self, features: int, classes: int, options: ConvOptions) -> None:
        super().__init__(features, classes, kernel_size=1)
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.get_parameter("bias"))
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of a map (N, features, h, w)."""
        maps = torch.relu(super().forward(self.dropout(x)))  # (N, classes, h, w)
        return nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)


class Cosine(nn.Module):
    """Cosines of the angles between features and a direction of each class, times a scale: arXiv:1804.09458, equation 5."""

    def __init__(self, features: int, classes: int, options: CosineOptions) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.scale = nn.Parameter(torch.tensor(options.scale))
        self.dropout = nn.Dropout(options.dropout)
        nn.init.normal_(self.weight)  # of which only the direction counts

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of features (N, features)."""
        directions = nn.functional.normalize(self.weight.float(), dim=1)
        return self.scale * nn.functional.linear(nn.functional.normalize(self.dropout(x).float(), dim=1), directions)


def mlp(features: int, classes: int, options: MlpOptions) -> nn.Module:
    """Build the mlp head."""
    layers: list[nn.Module] = []
    for width in options.widths:
        norm = [nn.BatchNorm1d(width)] if options.norm else []
        layers += [nn.Linear(features, width), *norm, nn.ReLU(), nn.Dropout(options.dropout)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))
