"""LEEP and NLEEP: how well clusters of the images predict their classes."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from tlkit.advice.components import principal_components
from tlkit.advice.scores.examples import Floats, Labels, checked
from tlkit.errors import DataError

_ENERGY = 0.8  # of the variance that NLEEP's components hold; Li et al. 2021, section 4.1
_CLUSTERS = 5  # Gaussians a class; there too
_IMAGES = 4  # images a Gaussian, at least; with as many Gaussians as images every score is 0, the best there is
_LEAST_VARIANCE = 1e-3  # of a Gaussian, of the mean variance of a component


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return LEEP: the mean log probability of each image's class, predicted from the network's own classes, in nats; at most 0.

    P(class | source class) is counted with the network's probabilities; an image's prediction is its mean over the source classes.

    Args:
        probabilities: (n, s); of the network's own s classes, each row adds up to 1.
        labels: (n,) integers.

    Raises:
        ValueError: the shapes are others.
        DataError: there are fewer than two classes, or rows that are no probabilities.

    Source: Nguyen et al. 2020, arXiv:2002.12462, eq. 2.
    """
    given = np.asarray(probabilities, np.float64)
    examples = checked(given, labels)
    wrong = int(((given < 0).any(1) | (np.abs(given.sum(1) - 1) > 1e-3)).sum())
    if wrong:
        raise DataError(
            f"leep: {wrong} of {len(given)} rows are no probabilities.",
            "each row is 0 or more and adds up to 1: softmax(logits)",
        )
    return _leep(given, examples.labels, examples.classes)


def nleep(features: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> float:
    """Return NLEEP: LEEP of a mixture of Gaussians that is fitted to the features, in nats; at most 0.

    Principal components that hold 80 % of the variance; five Gaussians a class, fewer where that leaves less than four images for each.
    Each has a variance of its own for every component, and no correlations: the images are too few for them, and the time too short.

    Args:
        features: (n, d).
        labels: (n,) integers.
        seed: Where the mixture starts; other starts give slightly other scores.

    Raises:
        ValueError: the shapes are others.
        DataError: there are fewer than two classes, or features that are not finite.

    Source: Li et al. 2021, arXiv:2011.11200, section 3.2.
    """
    examples = checked(features, labels)
    components = principal_components(examples.features, energy=_ENERGY)
    if not components.shape[1]:
        return _leep(np.ones((len(components), 1)), examples.labels, examples.classes)
    return _leep(_posterior(components, _CLUSTERS * examples.classes, seed=seed), examples.labels, examples.classes)


def _posterior(components: Floats, clusters: int, *, seed: int) -> Floats:
    """Return the probability of each Gaussian for each image, (n, clusters), or fewer where there are few images."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    scaled = components / np.sqrt((components**2).mean())
    fewer = min(clusters, max(2, len(scaled) // _IMAGES), len(np.unique(scaled, axis=0)))
    mixture = GaussianMixture(fewer, covariance_type="diag", reg_covar=_LEAST_VARIANCE, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that still moves a little scores as well
        posterior: Floats = mixture.fit(scaled).predict_proba(scaled)
    return posterior


def _leep(probabilities: Floats, labels: Labels, classes: int) -> float:
    """Return LEEP of probabilities (n, s) and labels from 0 to classes - 1."""
    joint = np.zeros((classes, probabilities.shape[1]))
    np.add.at(joint, labels, probabilities)
    whole = joint.sum(0)
    conditional = np.divide(joint, whole, out=np.zeros_like(joint), where=whole > 0)  # (classes, s)
    predicted = (conditional[labels] * probabilities).sum(1)
    return float(np.log(predicted).mean())
