"""How well the pooled output of a stage tells classes apart, by heads that are fitted at once. Imports no torch.

The rule: an image is judged only by heads that have not seen it, nor any image of its group; so all numbers are accuracies of new
images, in one unit for stages of any width.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.advice.components import principal_components
from tlkit.inspection import neighbours
from tlkit.plugin import remembered
from tlkit.plugin.provenance import source_files

Rows = NDArray[np.float32]  # (n, features)
Labels = NDArray[np.int64]  # (n,) classes, or (n, classes) of 0 and 1
Scores = NDArray[np.float64]  # (n,) 0 to 1 of each image
Score = Callable[[NDArray[np.float64], Labels], Scores]  # of answers (n, classes) for classes (n, classes) of 0 and 1

_FOLDS = 5
_DIRECTIONS = 128  # principal components that the heads read
_PENALTIES = (0.03, 0.3)  # scikit-learn's C, of inputs whose first component has variance 1
_STEPS = 100
_WORK = (
    1e8  # images x classes x components of a logistic head that takes seconds; beyond it the head is fitted by least squares
)
_NEIGHBOURS = 5
_TEMPERATURE = 0.07  # of the weights of neighbours, exp(cosine / 0.07): Wu et al. 2018, arXiv:1805.01978, section 3.4
_DIGITS = 6  # of a score, as it is remembered


@dataclass(frozen=True)
class Probe:
    """What two heads made of the outputs of one stage.

    Attributes:
        head: Score of each image (n,) by a cross-validated linear head: 1 where it is right, 0 where it is wrong; of several labels an
            image how well they are ranked (label ranking average precision).
        neighbours: The same by the nearest images, by cosine.
    """

    head: Scores
    neighbours: Scores

    @property
    def accuracy(self) -> float:
        """Mean score of the head."""
        return float(self.head.mean())

    @property
    def error(self) -> float:
        """Standard error of that mean."""
        return standard_error(self.head)


def standard_error(scores: Scores) -> float:
    """Return the standard error of the mean of scores (n,); that of an accuracy of 1 counts one image as wrong."""
    count = len(scores)
    if count < 2:
        return 1.0
    return float(max(scores.std(ddof=1), np.sqrt(1 / count * (1 - 1 / count))) / np.sqrt(count))


def judged(labels: Labels, groups: NDArray[np.int64], *, one_class: bool = True) -> NDArray[np.bool_]:
    """Return which images (n,) can be judged: of classes with two groups or more, one to learn from and one to test.

    Args:
        labels: As `probe` has them.
        groups: As `probe` has them.
        one_class: As `probe` has it.
    """
    if not one_class:
        return np.full(len(labels), len(np.unique(groups)) >= 2)
    enough = np.array([len(np.unique(groups[labels == each])) >= 2 for each in range(int(labels.max(initial=0)) + 1)])
    found: NDArray[np.bool_] = enough[labels]
    return found if len(np.unique(labels[found])) > 1 else np.zeros(len(labels), np.bool_)


def probe(rows: Rows, labels: Labels, groups: NDArray[np.int64], *, one_class: bool = True) -> Probe:
    """Fit the heads, each time without one fold of the images, and let them judge that fold.

    Args:
        rows: Outputs of a stage (n, features), all of which `judged` accepts.
        labels: The classes of the images (n,), two or more; or (n, classes) of 0 and 1 where an image may have several.
        groups: Images of one number go into one fold (n,).
        one_class: An image has one class; else labels are (n, classes).
    """
    key = _key(rows, labels, groups)
    known = remembered.recall(key)
    if isinstance(known, dict) and {len(known.get(name, ())) for name in ("head", "neighbours")} == {len(rows)}:
        return Probe(np.array(known["head"], np.float64), np.array(known["neighbours"], np.float64))
    inputs = _inputs(rows)
    from sklearn.model_selection import GroupKFold

    wanted = _one_hot(labels) if one_class else labels
    if one_class:
        folds = stratified_folds(inputs, labels, groups)
    else:
        folds = list(GroupKFold(min(_FOLDS, len(np.unique(groups)))).split(inputs, groups=groups))
    score = _right if one_class else _ranked
    if one_class and inputs.size * len(np.unique(labels)) <= _WORK:
        by_head = max((_logistic(inputs, labels, folds, penalty) for penalty in _PENALTIES), key=lambda each: each.mean())
    else:
        by_head = max(
            (_least_squares(inputs, wanted, folds, penalty, score) for penalty in (1.0, 10.0)), key=lambda each: each.mean()
        )
    found = Probe(by_head.round(_DIGITS), _by_neighbours(inputs, wanted, groups, score).round(_DIGITS))
    remembered.remember(key, {"head": found.head.tolist(), "neighbours": found.neighbours.tolist()})
    return found


def expected_seconds(images: int, classes: int, clock: Callable[[], float]) -> float | None:
    """Return about how long the logistic heads of one stage take, by one of their fits on noise; None where heads are fitted otherwise.

    Args:
        images: That are judged.
        classes: Of them.
        clock: Tells the time, seconds.
    """
    inputs = np.random.default_rng(0).normal(size=(images, min(images, _DIRECTIONS))) / 10
    labels = np.arange(images) % max(classes, 2)
    if inputs.size * classes > _WORK or images < 2 * max(classes, 2):
        return None
    every = np.arange(images)
    _logistic(inputs, labels % 2, [(every, every)], _PENALTIES[0])  # what the first fit loads is no part of it
    began = clock()
    _logistic(inputs, labels, [(every, every)], _PENALTIES[0])
    return (clock() - began) * _FOLDS * len(_PENALTIES)


def _key(rows: Rows, labels: Labels, groups: NDArray[np.int64]) -> dict[str, object]:
    import sklearn

    total = hashlib.sha256()
    for each in (rows, labels, groups):
        total.update(f"{each.shape} {each.dtype}\0".encode() + np.ascontiguousarray(each).tobytes())
    for file in source_files("tlkit.advice.probes"):
        total.update(file.read_bytes())
    return {"probe": total.hexdigest(), "scikit-learn": sklearn.__version__}


def _inputs(rows: Rows) -> NDArray[np.float64]:
    """Return what heads read (n, components): every channel in units of its own spread, then principal components."""
    x = rows.astype(np.float64)
    reduced = principal_components((x - x.mean(0)) / np.maximum(x.std(0), 1e-8), most=_DIRECTIONS)
    if not reduced.shape[1]:  # all images have the same features
        return np.zeros((len(x), 1))
    inputs: NDArray[np.float64] = reduced / max(float(reduced[:, 0].std()), 1e-12)
    return inputs


Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


def stratified_folds(inputs: NDArray[Any], labels: Labels, groups: NDArray[np.int64]) -> Folds:
    """Return the images that are trained on and those that are tested in each fold, groups whole, and classes as even as they allow."""
    from sklearn.model_selection import StratifiedGroupKFold

    least = min(len(np.unique(groups[labels == each])) for each in np.unique(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class with fewer images than folds
        return list(
            StratifiedGroupKFold(max(2, min(_FOLDS, least)), shuffle=True, random_state=0).split(inputs, labels, groups)
        )


def _logistic(inputs: NDArray[np.float64], labels: Labels, folds: Folds, penalty: float) -> Scores:
    from sklearn.linear_model import LogisticRegression

    found = np.zeros(len(labels))
    for train, test in folds:
        if len(np.unique(labels[train])) < 2:
            found[test] = labels[test] == labels[train][0]
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it took all of its steps: it is near enough
            model = LogisticRegression(C=penalty, max_iter=_STEPS, tol=1e-3).fit(inputs[train], labels[train])
        found[test] = model.predict(inputs[test]) == labels[test]
    return found


def _least_squares(inputs: NDArray[np.float64], wanted: Labels, folds: Folds, penalty: float, score: Score) -> Scores:
    """Return the score of each image (n,) by a ridge regression on the classes as 0 and 1, (n, classes)."""
    from sklearn.linear_model import Ridge

    found = np.zeros(len(wanted))
    for train, test in folds:
        answers = Ridge(alpha=penalty).fit(inputs[train], wanted[train]).predict(inputs[test])
        found[test] = score(answers, wanted[test])
    return found


def _by_neighbours(inputs: NDArray[np.float64], wanted: Labels, groups: NDArray[np.int64], score: Score) -> Scores:
    """Return the score of each image (n,) by the most alike images of other groups, each weighted by its likeness."""
    count = min(_NEIGHBOURS, len(wanted) - 1)
    nearest, cosines = neighbours.nearest(neighbours.unit(inputs.astype(np.float32)), count, groups=groups)
    weights = np.exp((cosines - cosines[:, :1]).astype(np.float64) / _TEMPERATURE)  # (n, count)
    return score(np.einsum("nk,nkc->nc", weights, wanted[nearest].astype(np.float64)), wanted)


def _one_hot(labels: Labels) -> Labels:
    found: Labels = np.eye(int(labels.max()) + 1, dtype=np.int64)[labels]
    return found


def _right(answers: NDArray[np.float64], wanted: Labels) -> Scores:
    """Return 1 for each image (n,) whose class has the largest answer (n, classes), else 0."""
    right: Scores = (answers.argmax(1) == wanted.argmax(1)).astype(np.float64)
    return right


def _ranked(answers: NDArray[np.float64], wanted: Labels) -> Scores:
    """Return how well the classes of each image (n,) are ranked by answers (n, classes)."""
    from sklearn.metrics import label_ranking_average_precision_score

    return np.array([label_ranking_average_precision_score(wanted[[row]], answers[[row]]) for row in range(len(wanted))])
