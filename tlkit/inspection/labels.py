"""Find labels that look wrong: where a classifier that has not seen an image is confident of another class (confident learning).

Source: Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, arXiv:1911.00068.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]  # (n, classes)

_FOLDS = 5
_REPEATS = (
    5  # partitions into folds of few images, whose probabilities are averaged: where which fold an image is in decides much
)
_FEW = 1e6  # images x classes x components x repeats: more repeats than that would take longer than a few seconds of one core
_DIRECTIONS = 128  # principal components that the classifier reads
_STRENGTHS = (0.1, 1.0, 10.0)  # scikit-learn's C: the inverse of the penalty
_STEPS, _USUAL_STEPS = 200, 30
_WORK = 1e8  # images x classes x components that are fitted; about twenty seconds of one core
_TIE = 1e-6  # probabilities that differ by less are equal


def judged(labels: Labels, apart: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """Return which images (n,) can be judged: those of classes with five groups of images or more, one for each fold.

    Args:
        labels: The classes (n,).
        apart: Images of one number go into one fold (n,).
        classes: How many.
    """
    groups = [len(np.unique(apart[labels == each])) for each in range(classes)]
    enough = np.array(groups, np.int64) >= _FOLDS
    return np.asarray(enough[labels])


def work(images: int, features: int, classes: int) -> float:
    """Return about how many floating-point operations `out_of_fold` takes."""
    directions = min(features, _DIRECTIONS)
    reducing, fits = 20.0 * images * features * directions, _FOLDS * 2 * len(_STRENGTHS) * _repeats(images, classes, directions)
    return reducing + min(images * classes * directions, _WORK) * 4 * _USUAL_STEPS * fits


def _repeats(images: int, classes: int, directions: int) -> int:
    """Return how many partitions into folds the probabilities are means of."""
    return int(np.clip(_FEW // max(images * classes * directions, 1), 1, _REPEATS))


def sample(labels: Labels, features: int) -> NDArray[np.int64]:
    """Return the rows that are judged: all, or evenly spread as many as are fitted in seconds."""
    most = int(_WORK / (max(len(np.unique(labels)), 1) * min(features, _DIRECTIONS)))
    if len(labels) <= most:
        return np.arange(len(labels))
    return np.unique(np.linspace(0, len(labels) - 1, num=most, dtype=np.int64))


def out_of_fold(embeddings: NDArray[np.float32], labels: Labels, apart: NDArray[np.int64], classes: int) -> Probabilities:
    """Return probabilities of a logistic regression for images that it was not fitted on, with the penalty of the smallest loss.

    Few images are divided into folds in several ways, and the probabilities averaged. Wrong labels mislead the fits too. So each is
    fitted a second time, without the images that are doubtful by the first fits, as cleanlab's CleanLearning does it.

    Args:
        embeddings: (n, f).
        labels: The classes (n,).
        apart: Images of one number go into one fold (n,), so that no duplicate of an image confirms its label.
        classes: How many; one without images has probability 0.
    """
    from sklearn.decomposition import PCA
    from sklearn.model_selection import StratifiedGroupKFold

    count = min(_DIRECTIONS, *embeddings.shape)
    reduced = PCA(count, svd_solver="randomized", random_state=0).fit_transform(embeddings.astype(np.float64))
    inputs = reduced / max(float(reduced[:, 0].std()), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class with fewer groups than folds
        partitions = [
            list(StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(inputs, labels, apart))
            for seed in range(_repeats(len(labels), classes, count))
        ]

    def averaged(trusted: NDArray[np.bool_]) -> Probabilities:
        return np.asarray(np.mean([_best(inputs, labels, folds, classes, trusted) for folds in partitions], axis=0))

    found = averaged(np.ones(len(labels), np.bool_))
    trusted = np.ones(len(labels), np.bool_)
    trusted[[row for row, _ in doubtful(labels, found)]] = False
    return found if trusted.all() else averaged(trusted)


def doubtful(labels: Labels, probabilities: Probabilities) -> list[tuple[int, int]]:
    """Return the rows whose label looks wrong with the class that they look like, the most doubtful first.

    A class is likely for an image where its probability reaches the mean that images of this label have. An image is doubtful where
    another class than its label is likely, and the most probable one.

    Args:
        labels: The classes (n,).
        probabilities: From `out_of_fold`.
    """
    return sorted(_off_diagonal(labels, probabilities), key=lambda pair: probabilities[pair[0], labels[pair[0]]])


def _off_diagonal(labels: Labels, probabilities: Probabilities) -> Iterator[tuple[int, int]]:
    classes = probabilities.shape[1]
    means = np.array(
        [probabilities[labels == each, each].mean() if (labels == each).any() else np.inf for each in range(classes)]
    )
    likely = probabilities >= means - _TIE
    best = probabilities.argmax(1)
    for row in np.flatnonzero(likely.any(1)).tolist():
        guess = int(best[row] if likely[row].sum() > 1 else likely[row].argmax())
        if guess != labels[row] and best[row] != labels[row]:
            yield row, guess


def _best(
    inputs: NDArray[np.float64],
    labels: Labels,
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    classes: int,
    trusted: NDArray[np.bool_],
) -> Probabilities:
    """Return the probabilities (n, classes) of the penalty with the smallest loss; only trusted images are fitted on and counted."""
    tried = []
    for strength in _STRENGTHS:
        found = np.zeros((len(labels), classes))
        for train, test in folds:
            if len(test):
                found[test] = _fitted(inputs, labels, train[trusted[train]], test, classes, strength)
        tried.append(found)
    return min(tried, key=lambda found: _loss(found[trusted], labels[trusted]))


def _fitted(
    inputs: NDArray[np.float64],
    labels: Labels,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    classes: int,
    strength: float,
) -> Probabilities:
    """Return the probabilities (n, classes) of images of one fold, fitted on the others."""
    from sklearn.linear_model import LogisticRegression

    found = np.zeros((len(test), classes))
    present = np.unique(labels[train])
    if len(present) < 2:
        found[:, present] = 1.0
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it took all of its steps: it is near enough
        model = LogisticRegression(C=strength, max_iter=_STEPS, tol=1e-3).fit(inputs[train], labels[train])
    found[:, model.classes_] = model.predict_proba(inputs[test])
    return found


def _loss(probabilities: Probabilities, labels: Labels) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, 1e-12)).mean())
