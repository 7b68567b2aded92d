"""Calibration: whether a network is right as often as its probabilities say. Imports no torch.

The rule: the temperature is fitted to validation images, and the error is told of test images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15  # as Guo et al. 2017
_LOWEST, _HIGHEST = 0.05, 20.0  # temperatures that are tried

Floats = NDArray[np.floating]
Answers = tuple[Floats, NDArray[np.integer]]  # logits (N, classes) and labels (N,)


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence, in bins of equal width from 0 to 1.

    Attributes:
        images: (bins,) images in each.
        confidence: (bins,) mean probability of the predicted class; NaN in an empty bin.
        accuracy: (bins,) part of the images that are right; NaN in an empty bin.
        error: Expected calibration error: mean over the images of |accuracy - confidence| of their bin.
    """

    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


@dataclass(frozen=True)
class Calibrated:
    """How well the probabilities of a network fit, before and after its logits are divided by a temperature."""

    before: Reliability
    after: Reliability | None
    temperature: float | None


def calibrated(answers: Answers, validation: Answers | None) -> Calibrated:
    """Return how well probabilities fit, and how well after temperature scaling.

    Args:
        answers: Of the images that it is told of.
        validation: Of other images, to which the temperature is fitted; None where there are none. Where they
            are all right they tell none either.
    """
    logits, labels = answers
    before = reliability(softmax(logits), labels)
    heat = 1.0 if validation is None else temperature(*validation)
    if heat == 1:
        return Calibrated(before, None, None)
    return Calibrated(before, reliability(softmax(logits, temperature=heat), labels), heat)


def softmax(logits: Floats, *, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities (N, classes) of logits (N, classes), divided by a temperature first."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def reliability(probabilities: Floats, labels: NDArray[np.integer], *, bins: int = BINS) -> Reliability:
    """Divide images into bins by confidence (a bin does not contain its lower edge), and compare it with the accuracy in each.

    Args:
        probabilities: (N, classes).
        labels: (N,).
        bins: How many.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, eq. 2 and 3.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    images = np.bincount(place, minlength=bins)
    sums = np.bincount(place, weights=confidence, minlength=bins), np.bincount(place, weights=right, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        means, accuracy = (each / images for each in sums)
    error = float(np.abs(sums[0] - sums[1]).sum() / max(len(labels), 1))
    return Reliability(images, means, accuracy, error)


def temperature(logits: Floats, labels: NDArray[np.integer]) -> float:
    """Return the temperature that minimises the mean negative log-likelihood of labels (N,) given logits (N, classes).

    1 where no label has a smaller logit than another class: then every lower temperature fits better, and none is the best.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]
    if not own.any():
        return 1.0

    def loss(logarithm: float) -> float:
        scale = np.exp(-logarithm)
        return float(np.mean(np.log(np.exp(shifted * scale).sum(1)) - own * scale))

    bounds = (np.log(_LOWEST), np.log(_HIGHEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))
