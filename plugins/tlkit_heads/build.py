"""The trained heads' modules, (N, features) -> (N, classes)."""

from torch import Tensor, nn

from tlkit_heads import LinearOptions, MlpOptions


class Linear(nn.Linear):
    """A linear layer, with dropout before it; its own parameters are `weight` and `bias`."""

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__(features, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        return super().forward(self.dropout(x))


def linear(features: int, classes: int, options: LinearOptions) -> nn.Module:
    """Build the linear head."""
    return Linear(features, classes, options.dropout)


def mlp(features: int, classes: int, options: MlpOptions) -> nn.Module:
    """Build the mlp head."""
    layers: list[nn.Module] = []
    for width in options.widths:
        layers += [nn.Linear(features, width), nn.ReLU(), nn.Dropout(options.dropout)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))
