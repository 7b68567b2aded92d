"""The loss of images without labels: pseudo-labels where the network is sure of the class.

With predictions p_i of a batch of B images, t the threshold:

    y_i = argmax_c p_ic
    loss = (1 / B) sum_(i: p_i[y_i] >= t) -log p_i[y_i]

Labels are made in the step itself, so they need no state; they are constants of the gradient. An image of whose class the network is not sure adds
nothing, and B counts it all the same, so that the loss is small while few are sure.

Source: Lee 2013, "Pseudo-label"; threshold and division by B: FixMatch, Sohn et al. 2020, arXiv:2001.07685, eq. 4, with one view of an image.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tlkit.plans.unlabelled import ConfidentOptions
from tlkit.plugin import DomainBatch


def loss(batch: DomainBatch[Tensor], options: ConfidentOptions) -> Tensor:
    """Return the mean loss () of the images without labels, the target of the batch."""
    logits = batch.target_logits  # (B, C)
    probability, label = logits.detach().softmax(1).max(1)
    losses = functional.cross_entropy(logits, label, reduction="none")
    return (losses * (probability >= options.threshold)).mean()
