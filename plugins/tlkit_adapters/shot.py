"""SHOT: adapt the features to a classifier that stays as the source left it; source images are not needed.

With predictions p_i of a target batch, and their mean q:

    L_ent = mean_i H(p_i)                     each image has one class
    L_div = sum_c q_c log q_c                 the images have all classes
    L_pl  = mean_i -log p_i[y_i]              pseudo-labels y by centroids: `tlkit.engine.domains.pseudo_labels`, once an epoch
    loss  = L_ent + L_div + beta L_pl

The head is frozen, and everything before it trains. The paper's networks have a bottleneck with BatchNorm and a weight-normalised classifier,
and train the source with label smoothing; a recipe may do so, and none of it is needed here.

Source: Liang, Hu & Feng 2020, arXiv:2002.08546, eq. 2, 3 and 6.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tlkit_adapters.entropies import entropy, negative_mean_entropy

BETA = 0.3  # the paper's weight of pseudo-labels, section 4.1


def information(target_logits: Tensor) -> Tensor:
    """Return L_ent + L_div, from -log(C), sure of every image and all classes equally often, to log(C).

    Args:
        target_logits: (B, C).
    """
    return entropy(target_logits).mean() + negative_mean_entropy(target_logits.softmax(1))


def loss(target_logits: Tensor, pseudo: Tensor, *, beta: float = BETA) -> Tensor:
    """Return the whole loss of a target batch.

    Args:
        target_logits: (B, C).
        pseudo: (B,) int64, the pseudo-label of each image.
        beta: Weight of the pseudo-labels' cross-entropy, 0 or more.
    """
    return information(target_logits) + beta * functional.cross_entropy(target_logits, pseudo)
