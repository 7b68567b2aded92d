"""The entropy of predictions, which several methods of domain adaptation use."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each image's prediction in nats, 0 to log(C).

    H_i = -sum_c p_ic log p_ic, with p_i = softmax(logits_i).

    Args:
        logits: (N, C).

    Returns:
        (N,).
    """
    log_p = functional.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1)


def negative_mean_entropy(probabilities: Tensor) -> Tensor:
    """Return sum_c q_c log q_c of the mean prediction q, from -log(C), every class as often as the others, to 0, one class alone.

    Args:
        probabilities: (N, C) of the classes.
    """
    mean = probabilities.mean(0)
    return (mean * mean.clamp_min(1e-12).log()).sum()
