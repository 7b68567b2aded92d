"""MDD, margin disparity discrepancy: an adversarial classifier that agrees with the classifier on the source and not on the target.

With the classifier's answers y = argmax f(x), the adversarial classifier's probabilities p', and a margin factor g:

    loss = g mean_source -log p'(x)[y] + mean_target -log(1 - p'(x)[y])

The adversarial classifier lowers the loss; its features passed through `reversal.reverse`, so the features raise it: where no such classifier
can be found, the classifier's answers are as good on the target as on the source. The features feel a tenth of it, once the ramp is at 1, as in
published code: with all of it the classifier unlearns the source (validation accuracy 98 % without, 20 to 43 % with it, photo to art).

Source: Zhang, Liu, Long & Jordan 2019, arXiv:1904.05801, eq. 28 to 30.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 4.0  # exp of the margin: the paper's gamma, section 5.2


def loss(
    source_logits: Tensor, source_adversary: Tensor, target_logits: Tensor, target_adversary: Tensor, *, margin: float = MARGIN
) -> Tensor:
    """Return the adversarial classifier's loss.

    Args:
        source_logits: (n, C) of the classifier; no gradient flows into them.
        source_adversary: (n, C) of the adversarial classifier, of reversed features.
        target_logits: (m, C) of the classifier; no gradient flows into them.
        target_adversary: (m, C) of the adversarial classifier, of reversed features.
        margin: Weight of the source's part, above 0.
    """
    agrees = functional.cross_entropy(source_adversary, source_logits.detach().argmax(1))
    answers = torch.zeros_like(target_logits, dtype=torch.bool).scatter_(
        1, target_logits.detach().argmax(1, keepdim=True), True
    )
    # log(1 - p[y]) is the log of all other classes' sum: exact where p[y] is almost 1.
    others = target_adversary.masked_fill(answers, -torch.inf).logsumexp(1)
    return margin * agrees + (target_adversary.logsumexp(1) - others).mean()
