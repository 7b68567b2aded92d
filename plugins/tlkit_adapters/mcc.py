"""MCC, minimum class confusion: target predictions should not spread over several classes.

With logits Z (B, C) of a target batch and a temperature T:

    Y_ij = softmax(Z_i / T)_j
    W_i = B (1 + exp(-H(Y_i))) / sum_i' (1 + exp(-H(Y_i')))      sure images count more; H is the entropy
    C = Y^T diag(W) Y                                             (C, C), how far classes are confused with each other
    C~_jk = C_jk / sum_k' C_jk'
    loss = sum_j sum_(k != j) C~_jk / C

The weights W are constants of the gradient, as in the authors' code.

Source: Jin, Wang, Long & Wang 2020, arXiv:1912.03699, eq. 2 to 7.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tlkit_adapters.entropies import entropy

TEMPERATURE = 2.5  # the paper's, section 4.3


def loss(target_logits: Tensor, *, temperature: float = TEMPERATURE) -> Tensor:
    """Return the class confusion of a target batch, 0 to (C - 1) / C.

    Args:
        target_logits: (B, C).
        temperature: Above 0; a higher one lets classes that are less likely count more.
    """
    scaled = target_logits / temperature
    certain = 1 + (-entropy(scaled.detach())).exp()
    weights = certain / certain.mean()  # (B,)
    predictions = scaled.softmax(1)  # (B, C)
    confusion = predictions.T @ (predictions * weights[:, None])  # (C, C)
    # A class that no image of the batch may be of has a row of zeros.
    confusion = confusion / confusion.sum(1, keepdim=True).clamp_min(torch.finfo(confusion.dtype).tiny)
    # Not trace(): its gradient on a GPU reads a value on the host.
    return (confusion.sum() - confusion.diagonal().sum()) / target_logits.shape[1]
