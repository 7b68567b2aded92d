"""Find labels that look wrong: where a classifier that has not seen an image is confident of another class (confident learning).

Source: Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, arXiv:1911.00068.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit.inspection import logistic
from tlkit.inspection.logistic import Values
from tlkit.network.seeding import seeded
from tlkit.plans import even_sample

SURE = 0.85  # a probability that is enough to doubt a label, where a class is usually surer of its own images
Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]  # (n, classes)

_FOLDS = 5
# Partitions into folds of few images, whose probabilities are averaged: where which fold an image is in decides much.
_REPEATS = 5
_FEW = 1e6  # images x classes x components x repeats of more than one
_DIRECTIONS = 128  # principal components that the classifier reads
# Of the search for them: further ones, and rounds. Source: Halko, Martinsson & Tropp 2011, arXiv:0909.4061.
_SPARE, _ROUNDS = 10, 4
_STRENGTHS = (0.1, 1.0, 10.0)  # scikit-learn's C: the inverse of the penalty
_USUAL_STEPS = 20  # of a fit; the first of a penalty takes more, the second fewer
_WORK = 1e8  # images x classes x components that are fitted: two seconds of one core for 7,800 images of 100 classes
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
    return even_sample.positions(len(labels), most)


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
    count = min(_DIRECTIONS, *embeddings.shape)
    reduced = _components(embeddings, count)
    inputs = reduced / max(float(reduced[:, 0].std()), 1e-12)
    partitions = [_folds(labels, apart, seed) for seed in range(_repeats(len(labels), classes, count))]
    weights: list[list[Values | None]] = [[None] * len(_STRENGTHS) for _ in partitions]

    def averaged(trusted: NDArray[np.bool_]) -> Probabilities:
        return np.asarray(
            np.mean([_best(inputs, labels, *each, classes, trusted) for each in zip(partitions, weights, strict=True)], axis=0)
        )

    found = averaged(np.ones(len(labels), np.bool_))
    trusted = np.ones(len(labels), np.bool_)
    trusted[[row for row, _ in doubtful(labels, found)]] = False
    return found if trusted.all() else averaged(trusted)


def doubtful(labels: Labels, probabilities: Probabilities, *, sure: float = 1.0) -> list[tuple[int, int]]:
    """Return the rows whose label looks wrong with the class that they look like, the most doubtful first.

    A class is likely for an image where its probability reaches the mean that images of this label have. An image is doubtful where
    another class than its label is likely, and the most probable one.

    Args:
        labels: The classes (n,).
        probabilities: From `out_of_fold`.
        sure: A class of this probability is likely, too, however sure the mean is.
    """
    return sorted(_off_diagonal(labels, probabilities, sure), key=lambda pair: probabilities[pair[0], labels[pair[0]]])


def _off_diagonal(labels: Labels, probabilities: Probabilities, sure: float) -> Iterator[tuple[int, int]]:
    classes = probabilities.shape[1]
    means = np.array(
        [probabilities[labels == each, each].mean() if (labels == each).any() else np.inf for each in range(classes)]
    )
    likely = probabilities >= np.minimum(means, sure) - _TIE
    best = probabilities.argmax(1)
    for row in np.flatnonzero(likely.any(1)).tolist():
        guess = int(best[row] if likely[row].sum() > 1 else likely[row].argmax())
        if guess != labels[row] and best[row] != labels[row]:
            yield row, guess


def _components(embeddings: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the first principal components (n, count) of embeddings (n, f)."""
    with seeded(0):
        rows = torch.from_numpy(embeddings - embeddings.mean(0))
        _, _, axes = torch.svd_lowrank(rows, q=min(count + _SPARE, *rows.shape), niter=_ROUNDS)
    found: NDArray[np.float64] = (rows.double() @ axes[:, :count].double()).numpy()
    return found


def _folds(labels: Labels, apart: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which images each fold has (folds, n): images that go into one fold are dealt out together, class by class of the first."""
    _, first, inverse = np.unique(apart, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[dealt] = np.arange(len(first)) % _FOLDS
    return np.asarray(fold[inverse.reshape(-1)] == np.arange(_FOLDS)[:, None])


def _best(
    inputs: NDArray[np.float64], labels: Labels, held: NDArray[np.bool_], weights: list[Values | None], classes: int,
    trusted: NDArray[np.bool_],
) -> Probabilities:  # fmt: skip
    """Return the probabilities (n, classes) of the penalty with the smallest loss; only trusted images are fitted on and counted.

    Args:
        inputs: (n, d).
        labels: The classes (n,).
        held: (folds, n) the images of each fold.
        weights: Of each penalty, where its fits begin; changed to where they end.
        classes: How many.
        trusted: (n,).
    """
    seen = ~held & trusted
    seen = np.where(seen.any(1, keepdims=True), seen, ~held)
    best, least = np.zeros((0, classes)), np.inf
    for place, strength in enumerate(_STRENGTHS):
        start = weights[place] if weights[place] is not None else weights[place - 1] if place else None
        found, weights[place] = logistic.fit(inputs, labels, seen, np.full(len(held), strength), classes, start=start)
        tried = np.einsum("kfn,fn->nk", found, held)
        loss = _loss(tried[trusted], labels[trusted])
        if loss >= least:  # less of a penalty is worse still
            break
        best, least = tried, loss
    return best


def _loss(probabilities: Probabilities, labels: Labels) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, 1e-12)).mean())
