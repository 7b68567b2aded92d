"""A solved head: fitted, as a module, and as a file: skops with a fixed list of trusted types, no pickle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor, nn

from tlkit import plugin, units
from tlkit.engine import estimator_checks
from tlkit.errors import DataError, PluginError, RunFolderError, reason
from tlkit.plugin import Head, Solving
from tlkit.plugin.calling import comes_with
from tlkit.record import selection

LEAST = 1e-7  # a probability of 0 is taken for this one: else one wrong answer that is sure makes the mean loss endless
_ROWS = 4096  # of embeddings that are float64 at a time
# Classes that scikit-learn's own estimators hold and skops does not trust by itself.
TRUSTED = (
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance",
    "sklearn.metrics._dist_metrics.EuclideanDistance32",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.svm._classes.LinearSVC",
    "sklearn.svm._classes.SVC",
    "sklearn.tree._tree.Tree",
)


class FittedHead(nn.Module):
    """An estimator as a module: from features (N, F) to numbers whose softmax are probabilities. It owns no parameter.

    An estimator that gives probabilities answers with their logarithm; one that only ranks, as an SVM does, with its decision
    values: the softmax of these orders the classes as it does, but says nothing of how often it is right.

    Args:
        estimator: Fitted.
        classes: Length of the output; a class that the estimator has not seen is never answered.
        warnings: The warnings of the estimator while it was fitted.
    """

    def __init__(self, estimator: Any, classes: int, *, warnings: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.estimator = estimator
        self.classes = classes
        self.warnings = warnings

    @property
    def logarithms(self) -> bool:
        """Whether it answers with logarithms of probabilities."""
        return hasattr(self.estimator, "predict_proba")

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, classes) float32."""
        features = x.detach().float().cpu().numpy()
        found, floor = self._answers(features)
        whole = np.repeat(floor[:, None].astype(np.float32), self.classes, axis=1)
        whole[:, np.asarray(self.estimator.classes_, dtype=np.int64)] = found
        return torch.from_numpy(whole).to(x.device)

    def _answers(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Numbers (N, classes that were seen), and for each image a number (N,) that is less than its own: of the others."""
        if self.logarithms:
            values = np.log(np.maximum(self.estimator.predict_proba(features), LEAST))
            return values, np.full(len(features), np.log(LEAST))
        values = np.asarray(self.estimator.decision_function(features), dtype=np.float64)
        if values.ndim == 1:  # of two classes, one number
            values = np.stack([-values / 2, values / 2], axis=1)
        return values, np.minimum(values.min(1), 0.0) + np.log(LEAST)


def of_several_classes(labels: NDArray[np.int64], *, kind: str) -> NDArray[np.int64]:
    """Return the labels (N,) that a head of some kind is to be fitted to.

    Raises:
        DataError: all are of one class.
    """
    if len(np.unique(labels)) < 2:
        raise DataError("data: the training images are of one class.", f"the {kind} head tells classes apart")
    return labels


def build(head: Head, options: BaseModel | None, solving: Solving) -> Any:
    """Make a head's estimator, which is not fitted yet.

    Raises:
        PluginError: its maker failed, or made something else.
        TlkitError: the maker refuses the options for these images.
    """
    estimator: Any = plugin.call(head.solve, options, solving)
    _require(head, estimator, "fit")
    return estimator


def fit(
    head: Head, options: BaseModel | None, embedded: NDArray[np.float32], labels: NDArray[np.int64], solving: Solving
) -> tuple[FittedHead, list[str]]:
    """Make a head's estimator and fit it.

    Args:
        head: The plugin.
        options: The head's options, checked.
        embedded: (N, features).
        labels: (N,).
        solving: What the head plugin needs to know of the embeddings.

    Returns:
        The head, and what a search chose, in words.

    Raises:
        PluginError: its maker, or what it made, failed.
    """
    estimator = build(head, options, solving)
    name, by = head.solve.rpartition(":")[2], solving.select_by
    caught = _fit_(estimator, embedded, labels, name=name)
    said = []
    if hasattr(estimator, "best_estimator_"):
        chosen = ", ".join(f"{key.rpartition('__')[2]} = {value}" for key, value in estimator.best_params_.items())
        score = float(estimator.best_score_)
        shown = f"accuracy {score:.1%}" if by == "accuracy" else selection.shown({by: -score if by == "loss" else score}, by)
        said.append(f"{name}: {chosen} by cross-validation, {shown} there")
        estimator = estimator.best_estimator_
    _require(head, estimator, "predict_proba", "decision_function")
    return FittedHead(estimator, solving.classes, warnings=caught), said


def _require(head: Head, estimator: object, *names: str) -> None:
    """Refuse what a head's maker gave where it has none of these methods."""
    if not any(callable(getattr(estimator, name, None)) for name in names):
        what = f"{type(estimator).__name__}, which has no {' or '.join(names)}"
        raise PluginError(f"{head.solve}: gave {what}.", "a classifier of scikit-learn", comes_with(head.solve))


def refit(fitted: FittedHead, embedded: NDArray[np.float32], labels: NDArray[np.int64]) -> FittedHead:
    """Return a head like another, with the parameters that its search chose, fitted to other images.

    Args:
        fitted: The other head.
        embedded: (N, features).
        labels: (N,).

    Raises:
        PluginError: it cannot be fitted.
    """
    from sklearn.base import clone

    estimator = clone(fitted.estimator)
    caught = _fit_(estimator, embedded, labels, name=type(estimator).__name__)
    return FittedHead(estimator, fitted.classes, warnings=tuple(dict.fromkeys([*fitted.warnings, *caught])))


def _fit_(estimator: Any, embedded: NDArray[np.float32], labels: NDArray[np.int64], *, name: str) -> tuple[str, ...]:
    """Fit an estimator, and return its library's warnings as lines."""
    embedded = without_noise(embedded)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator.fit(embedded, labels)
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:  # what a library raises of data it cannot use
            why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            raise PluginError(f"head.kind: {name} cannot be fitted to {units.images(len(labels))}: {why}.") from error
    texts = (str(each.message).strip().partition("\n")[0].rstrip(".") for each in caught)
    return tuple(dict.fromkeys(f"the {name} head was fitted, and its library warns: {text}" for text in texts))


def without_noise(embedded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return embeddings (N, F) in which a feature that varies by no more than float32 rounds is constant; mostly they are as given.

    Such a feature, of a channel that is all but dead for instance, tells nothing that another kernel would not tell otherwise. Brought to a
    standard deviation of 1 it would count as much as any other, and an image for which it is not that small would be decided by it.
    A constant one is left alone by scikit-learn: it divides it by 1, and gives it the weight 0.

    Deviations are compared with the feature's own mean and with the median deviation of those that vary, each times float32's epsilon.
    """
    means = embedded.mean(0, dtype=np.float64)
    squares = np.zeros(embedded.shape[1])
    for first in range(0, len(embedded), _ROWS):
        squares += ((embedded[first : first + _ROWS] - means) ** 2).sum(0)
    spread = np.sqrt(squares / len(embedded))
    usual = np.median(spread[spread > 0]) if spread.any() else 0.0
    noise = (spread > 0) & (spread <= np.finfo(np.float32).eps * np.maximum(np.abs(means), usual))
    if not noise.any():
        return embedded
    found = embedded.copy()
    found[:, noise] = means[noise]
    return found


def to_bytes(solved: FittedHead) -> bytes:
    """Return a solved head's file."""
    import skops.io

    data: bytes = skops.io.dumps(solved.estimator)
    return data


def load(path: Path, head: Head, classes: int) -> FittedHead:
    """Read a run's solved head.

    Args:
        path: The file.
        head: The plugin.
        classes: Number of classes of the run.

    Raises:
        RunFolderError: the file is missing or damaged, or holds a class that is not trusted.
    """
    import skops.io

    try:
        unknown = [name for name in skops.io.get_untrusted_types(file=path) if name not in {*TRUSTED, *head.trusted}]
        if unknown:
            raise RunFolderError(
                f"{path}: holds {', '.join(unknown)}, which tlkit does not trust.",
                "a head's plugin may name it: Head(trusted=)",
            )
        wrong = estimator_checks.file_problem(path)
        estimator = None if wrong else skops.io.load(path, trusted=[*TRUSTED, *head.trusted])
        if wrong or (wrong := estimator_checks.problem(estimator)):
            raise RunFolderError(f"{path}: is damaged: {wrong}.", "apply its recipe again")
        return FittedHead(estimator, classes)
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent}: this run has no {path.name}.", "apply its recipe again") from None
    except RunFolderError:
        raise
    except Exception as error:  # of a damaged file skops raises whatever the zip or the schema does
        raise RunFolderError(f"{path}: cannot be read: {reason(error)}.", "apply its recipe again") from error
