"""Order networks by what is known before any of them is trained: a head's accuracy on these images, and accuracy on ImageNet.

Imports no torch.

Source: over 12 data sets the logit of the accuracy after transfer is close to linear in the logit of ImageNet accuracy (Kornblith,
Shlens & Le 2019, arXiv:1805.08974). So both are added as logits. The weight is a judgement made beforehand; it is not fitted yet.
"""

from __future__ import annotations

import math

_PRIOR = 0.5  # weight of ImageNet's logit beside that of the probe
_UNKNOWN = 50.0  # percent, for weights of which no ImageNet accuracy is known: less than that of any in the table


def rank(accuracy: float, images: int, top1: float | None) -> float:
    """Return what networks are ordered by, the largest first.

    Args:
        accuracy: Of the head on the best stage, 0 to 1.
        images: That it was judged on: an accuracy of 1 counts as half an image wrong.
        top1: Accuracy on ImageNet, percent; None where it is not known.
    """
    edge = 0.5 / max(images, 1)
    prior = _UNKNOWN if top1 is None else top1
    return _logit(min(max(accuracy, edge), 1 - edge)) + _PRIOR * _logit(prior / 100)


def _logit(value: float) -> float:
    return math.log(value / (1 - value))
