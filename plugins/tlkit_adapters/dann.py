"""DANN: features from which a domain head cannot tell the domains apart.

With the domain head's logits d of features that passed through `reversal.reverse`:

    loss = (mean_source -log s(d) + mean_target -log(1 - s(d))) / 2,   s the logistic function

The domain head lowers the loss; because of the reversal, what lies before it raises it. The reversal's factor rises from 0 to 1.

Source: Ganin et al. 2016, arXiv:1505.07818, eq. 9 and 18.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def loss(source_scores: Tensor, target_scores: Tensor) -> Tensor:
    """Return the domain head's loss, log(2) where it can only guess.

    Args:
        source_scores: (n,) logits that an image is of the source, of source images.
        target_scores: (m,) of target images.
    """
    return (functional.softplus(-source_scores).mean() + functional.softplus(target_scores).mean()) / 2
