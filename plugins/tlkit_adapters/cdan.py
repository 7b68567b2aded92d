"""CDAN: DANN with a domain head that also sees the predictions, and with weights for sure images.

The domain head reads the multilinear map of features f (F,) and predictions g (C,), every product of one of each:

    T(f, g) = f (x) g,   F * C values; where these are more than 4,096:   (R_f f) * (R_g g) / sqrt(d)

R_f (d, F) and R_g (d, C) are drawn once from a standard normal distribution and stay. Images of whose class the network is sure count more
(CDAN+E), with weights that are divided by their sum in each domain:

    w = 1 + exp(-H(g))
    loss = (sum_source w -log s(d) / sum w + sum_target w -log(1 - s(d)) / sum w) / 2

Predictions are constants of the gradient, as in the authors' code: it flows through the features alone, reversed by `reversal.reverse`.

Source: Long, Cao, Wang & Jordan 2018, arXiv:1705.10667, eq. 4 to 8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlkit_adapters.entropies import entropy

LARGEST = 4096  # products above which the random map is used: the paper's, eq. 6
RANDOM = 1024  # values of the random map, d: as the authors' code


def multilinear(features: Tensor, predictions: Tensor) -> Tensor:
    """Return every product of a feature and a prediction, (N, C * F), the features of the first class first.

    Args:
        features: (N, F).
        predictions: (N, C).
    """
    return (predictions[:, :, None] * features[:, None, :]).flatten(1)


class ConditionalMap(nn.Module):
    """What the domain head reads: the multilinear map, or a random one where that would be large.

    Args:
        features: F.
        classes: C.
        generator: Draws the random map; torch's own where none is given.
        largest: Values of the multilinear map, above which the random one is used.
        values: Of the random map.

    Attributes:
        width: Number of values that it returns.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        generator: torch.Generator | None = None,
        largest: int = LARGEST,
        values: int = RANDOM,
    ) -> None:
        super().__init__()
        random = features * classes > largest
        self.width = values if random else features * classes
        self.of_features: Tensor | None
        self.of_predictions: Tensor | None
        self.register_buffer("of_features", torch.randn(features, values, generator=generator) if random else None)
        self.register_buffer("of_predictions", torch.randn(classes, values, generator=generator) if random else None)

    def forward(self, features: Tensor, predictions: Tensor) -> Tensor:
        """Return (N, width) of features (N, F) and predictions (N, C)."""
        if self.of_features is None or self.of_predictions is None:
            return multilinear(features, predictions)
        mapped: Tensor = (features @ self.of_features) * (predictions @ self.of_predictions) / self.width**0.5
        return mapped


def weights(logits: Tensor) -> Tensor:
    """Return the weight of each image (N,); they add up to 1.

    Args:
        logits: (N, C); no gradient flows into them.
    """
    certain = 1 + (-entropy(logits.detach())).exp()
    return certain / certain.sum()


def loss(source_scores: Tensor, target_scores: Tensor, source_weights: Tensor, target_weights: Tensor) -> Tensor:
    """Return the domain head's loss, log(2) where it can only guess.

    Args:
        source_scores: (n,) logits that an image is of the source, of source images.
        target_scores: (m,) of target images.
        source_weights: (n,) that add up to 1.
        target_weights: (m,) that add up to 1.
    """
    source = (source_weights * functional.softplus(-source_scores)).sum()
    return (source + (target_weights * functional.softplus(target_scores)).sum()) / 2
