"""Order networks by what is known before any of them is trained: a head's accuracy on these images, ImageNet's, and two scores.

Imports no torch. The rule: only differences between networks on the same images count, and the weights are those of fitted.json.

Source: over 12 data sets the logit of the accuracy after transfer is close to linear in the logit of ImageNet accuracy (Kornblith,
Shlens & Le 2019, arXiv:1805.08974). So both accuracies are added as logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tlkit.advice import fitted, imagenet_weights

_UNKNOWN = (
    imagenet_weights.typical()
)  # for weights of which no ImageNet accuracy is known, a file for instance: the probe decides
SCORES = ("NLEEP", "GBC")


def needs_scores() -> bool:
    """Return whether the order depends on NLEEP and GBC."""
    return any(fitted.load().weights[name] for name in SCORES)


def rank(accuracy: float, images: int, top1: float | None, scores: Mapping[str, float], classes: int) -> float:
    """Return what networks are ordered by, the largest first; the arguments are those of `features`."""
    found = features(accuracy, images, top1, scores, classes)
    return sum(weight * found[name] for name, weight in fitted.load().weights.items())


def features(
    accuracy: float, images: int, top1: float | None, scores: Mapping[str, float], classes: int
) -> dict[str, float]:  # fmt: skip
    """Return what is weighted.

    Args:
        accuracy: Of the head on the best stage, 0 to 1.
        images: That it was judged on: an accuracy of 1 counts as half an image wrong.
        top1: Accuracy on ImageNet, percent; None where it is not known.
        scores: NLEEP and GBC of the last stage; 0 where they were not computed.
        classes: Of the images; GBC counts every ordered pair of them.
    """
    edge = 0.5 / max(images, 1)
    prior = _UNKNOWN if top1 is None else top1
    pairs = max(classes * (classes - 1), 1)
    return {
        "probe": logit(min(max(accuracy, edge), 1 - edge)),
        "prior": logit(prior / 100),
        "NLEEP": scores.get("NLEEP", 0.0),
        "GBC": scores.get("GBC", 0.0) / pairs,
    }


def logit(value: float) -> float:
    """Return ln(p / (1 - p))."""
    return math.log(value / (1 - value))
