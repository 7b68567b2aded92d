"""The loss of images without labels: pseudo-labels where the network is sure of the class.

With predictions p_i of a batch of B images, q_i of their second views, t the threshold:

    y_i = argmax_c p_ic
    loss = (1 / B) sum_(i: p_i[y_i] >= t) -log q_i[y_i]

Without a second view q_i is p_i.

Labels are made in the step itself, so they need no state; they are constants of the gradient. An image of whose class the network is not sure adds
nothing, and B counts it all the same, so that the loss is small while few are sure.

Source: Lee 2013, "Pseudo-label"; threshold and division by B: FixMatch, Sohn et al. 2020, arXiv:2001.07685, eq. 4, whose second view
is augmented more strongly.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tlkit.plans.unlabelled import ConfidentOptions
from tlkit.plugin import DomainBatch


def loss(batch: DomainBatch[Tensor], options: ConfidentOptions) -> Tensor:
    """Return the mean loss () of the images without labels, the target of the batch."""
    probability, label = batch.target_logits.detach().softmax(1).max(1)  # (B,)
    learned = batch.target_logits if batch.second_logits is None else batch.second_logits  # (B, C)
    losses = functional.cross_entropy(learned, label, reduction="none")
    return (losses * (probability >= options.threshold)).mean()
