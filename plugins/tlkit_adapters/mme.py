"""MME, minimax entropy: a few target images have labels, and the classifier meets the others halfway.

With predictions p of unlabelled target images and H the mean of their entropies:

    classifier F:   maximise H, so that its class prototypes move towards the target's images
    features G:     minimise H, so that these images gather round the prototypes

Both in one backward pass: the features pass through `reversal.reverse` before the classifier, and the loss is -H. Labelled images of both
domains have the cross-entropy as usual. The paper's classifier is a cosine head with temperature 0.05, and its weight is 0.1.

Source: Saito, Kim, Sclaroff, Darrell & Saenko 2019, arXiv:1904.06487, eq. 2 and 3.
"""

from __future__ import annotations

from torch import Tensor

from tlkit_adapters.entropies import entropy


def loss(reversed_logits: Tensor) -> Tensor:
    """Return -H, the negative mean entropy in nats, -log(C) to 0.

    Args:
        reversed_logits: (B, C) of unlabelled target images whose features passed through the gradient reversal.
    """
    return -entropy(reversed_logits).mean()
