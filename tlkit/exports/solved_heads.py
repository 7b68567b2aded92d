"""Solved heads in operations of torch, so that they are computed in a graph without scikit-learn.

The rule: the same numbers as `FittedHead`, up to rounding: an estimator without an equal here is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlkit.engine.estimators import LEAST, FittedHead
from tlkit.errors import TlkitError


def module(head: FittedHead, where: str) -> nn.Module:
    """Return a solved head as a module of torch.

    Args:
        head: Fitted.
        where: Begins the message of an error.

    Raises:
        TlkitError: its estimator has no equal here.
    """
    *before, last = [step for _, step in getattr(head.estimator, "steps", [("", head.estimator)])]
    kind = type(last).__name__
    unknown = [type(step).__name__ for step in before if type(step).__name__ not in _BEFORE]
    if kind not in _MAKERS or unknown:
        raise TlkitError(
            f"{where}: the arithmetic of {unknown[0] if unknown else kind} is not available in a graph.",
            f"estimators that are: {', '.join(_MAKERS)}",
        )
    return SolvedHead([_BEFORE[type(step).__name__](step) for step in before], _MAKERS[kind](last), head)


class SolvedHead(nn.Module):
    """An estimator's arithmetic, with an output for every class of the run.

    Args:
        before: Scalers, and the map of an adapted head.
        values: From features (N, F) float64 to numbers (N, classes that were seen) float64.
        head: The head that it computes.
    """

    def __init__(self, before: Sequence[nn.Module], values: nn.Module, head: FittedHead) -> None:
        super().__init__()
        self.before = nn.Sequential(*before)
        self.values = values
        self.logarithms = head.logarithms
        seen = np.asarray(head.estimator.classes_, dtype=np.int64).tolist()
        # The column of each class; of one that was not seen the last, which holds less than any other.
        columns = [seen.index(label) if label in seen else len(seen) for label in range(head.classes)]
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, classes) float32 of features (N, F), as `FittedHead`."""
        found = self.values(self.before(x.to(torch.float64)))
        least = float(np.log(LEAST))
        if self.logarithms:
            found = torch.log(torch.clamp(found, min=LEAST))
            floor = torch.full_like(found[:, :1], least)
        else:
            floor = torch.clamp(found.amin(1, keepdim=True), max=0.0) + least
        return torch.cat([found, floor], 1)[:, self.get_buffer("columns")].to(torch.float32)


class _Scale(nn.Module):
    def __init__(self, scaler: Any) -> None:
        super().__init__()
        self.register_buffer("mean", _tensor(scaler.mean_))
        self.register_buffer("scale", _tensor(scaler.scale_))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.get_buffer("mean")) / self.get_buffer("scale")


class _Turn(nn.Module):
    def __init__(self, components: Any) -> None:
        super().__init__()
        self.register_buffer("mean", _tensor(components.mean_))
        self.register_buffer("turn", _tensor(components.components_).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.get_buffer("mean")) @ self.get_buffer("turn")


_BEFORE: dict[str, Callable[[Any], nn.Module]] = {"StandardScaler": _Scale, "PCA": _Turn}


class _Linear(nn.Module):
    """Decision values (N, classes), or of two classes their probabilities, from one product.

    Args:
        estimator: With `coef_` and `intercept_`.
        probabilities: Softmax of the values; of two classes, which have one value, the sigmoid.
    """

    def __init__(self, estimator: Any, *, probabilities: bool) -> None:
        super().__init__()
        self.register_buffer("coefficients", _tensor(estimator.coef_).T.contiguous())
        self.register_buffer("intercept", _tensor(np.broadcast_to(estimator.intercept_, len(estimator.coef_))))
        self.probabilities = probabilities

    def forward(self, x: Tensor) -> Tensor:
        values = x @ self.get_buffer("coefficients") + self.get_buffer("intercept")
        if values.shape[1] == 1:
            values = torch.cat([-values / 2, values / 2], 1)  # whose softmax is the sigmoid
        return torch.softmax(values, 1) if self.probabilities else values


class _Machine(nn.Module):
    """A support vector machine with a radial kernel: a vote of one class against another, as sklearn.utils.multiclass has it."""

    def __init__(self, machine: Any) -> None:
        super().__init__()
        vectors, counts = np.asarray(machine.support_vectors_), np.asarray(machine.n_support_)
        ends = np.cumsum(counts)
        of_class = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        self.pairs = [(i, j) for i in range(len(counts)) for j in range(i + 1, len(counts))]
        weights = np.zeros((len(self.pairs), len(vectors)))
        for row, (i, j) in zip(weights, self.pairs, strict=True):  # libsvm: a row of dual_coef_ for every other class
            row[of_class[i]] = machine.dual_coef_[j - 1, of_class[i]]
            row[of_class[j]] = machine.dual_coef_[i, of_class[j]]
        self.gamma = float(machine._gamma)
        self.classes = len(counts)
        self.register_buffer("vectors", _tensor(vectors))
        self.register_buffer("weights", _tensor(weights).T.contiguous())
        self.register_buffer("intercept", _tensor(machine.intercept_))

    def forward(self, x: Tensor) -> Tensor:
        kernel = torch.exp(-self.gamma * _squared_distances(x, self.get_buffer("vectors")))
        decisions = kernel @ self.get_buffer("weights") + self.get_buffer("intercept")  # (N, pairs)
        if self.classes == 2:
            return torch.cat([-decisions / 2, decisions / 2], 1)
        columns = decisions.unbind(1)
        confidence = [torch.zeros_like(columns[0]) for _ in range(self.classes)]
        votes = [torch.zeros_like(columns[0]) for _ in range(self.classes)]
        for decision, (i, j) in zip(columns, self.pairs, strict=True):
            second = (decision < 0).to(decision.dtype)
            confidence[i], confidence[j] = confidence[i] + decision, confidence[j] - decision
            votes[i], votes[j] = votes[i] + 1 - second, votes[j] + second
        sums = torch.stack(confidence, 1)
        return torch.stack(votes, 1) + sums / (3 * (torch.abs(sums) + 1))


class _Neighbours(nn.Module):
    """The vote of the nearest features."""

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        self.count, self.by_distance = int(estimator.n_neighbors), estimator.weights == "distance"
        labels = np.asarray(estimator._y, dtype=np.int64)
        self.register_buffer("rows", _tensor(estimator._fit_X))
        self.register_buffer("votes", _tensor(np.eye(len(estimator.classes_))[labels]))

    def forward(self, x: Tensor) -> Tensor:
        nearest = torch.topk(_squared_distances(x, self.get_buffer("rows")), self.count, largest=False)
        votes = self.get_buffer("votes")[nearest.indices]  # (N, neighbours, classes)
        if self.by_distance:
            votes = votes / torch.sqrt(nearest.values + 1e-24)[:, :, None]  # at a distance of 0 a vote outweighs all others
        summed = votes.sum(1)
        return summed / summed.sum(1, keepdim=True)


class _Trees(nn.Module):
    """One tree or many: the mean of their leaves' shares of the classes. The nodes of all trees stand one after the other."""

    def __init__(self, estimator: Any) -> None:
        super().__init__()
        trees = [each.tree_ for each in getattr(estimator, "estimators_", [estimator])]
        self.depth = max(int(tree.max_depth) for tree in trees)
        starts = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        self.register_buffer("roots", torch.tensor(starts))
        for name, side in (("left", "children_left"), ("right", "children_right")):
            below = [start + _onward(getattr(tree, side)) for tree, start in zip(trees, starts, strict=True)]
            self.register_buffer(name, torch.from_numpy(np.concatenate(below)))
        self.register_buffer("feature", torch.from_numpy(np.concatenate([np.maximum(tree.feature, 0) for tree in trees])))
        self.register_buffer("threshold", _tensor(np.concatenate([tree.threshold for tree in trees])))
        values = np.concatenate([tree.value[:, 0] for tree in trees])
        self.register_buffer("shares", _tensor(values / values.sum(1, keepdims=True)))

    def forward(self, x: Tensor) -> Tensor:
        node = torch.zeros_like(x[:, :1], dtype=torch.int64) + self.get_buffer("roots")  # (N, trees)
        for _ in range(self.depth):
            value = torch.gather(x, 1, self.get_buffer("feature")[node])
            goes_left = value <= self.get_buffer("threshold")[node]
            node = torch.where(goes_left, self.get_buffer("left")[node], self.get_buffer("right")[node])
        return self.get_buffer("shares")[node].mean(1)


def _onward(children: NDArray[np.int64]) -> NDArray[np.int64]:
    """The nodes below each node; a leaf, which has none, leads to itself."""
    return np.where(children < 0, np.arange(len(children)), children).astype(np.int64)


def _squared_distances(x: Tensor, rows: Tensor) -> Tensor:
    """(N, n), never negative."""
    return torch.clamp((x * x).sum(1, keepdim=True) - 2 * (x @ rows.T) + (rows * rows).sum(1), min=0.0)


def _tensor(values: Any) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64)


_MAKERS: dict[str, Callable[[Any], nn.Module]] = {
    "LinearSVC": lambda estimator: _Linear(estimator, probabilities=False),
    "SVC": _Machine,
    "LogisticRegression": lambda estimator: _Linear(estimator, probabilities=True),
    "LinearDiscriminantAnalysis": lambda estimator: _Linear(estimator, probabilities=True),
    "KNeighborsClassifier": _Neighbours,
    "DecisionTreeClassifier": _Trees,
    "RandomForestClassifier": _Trees,
}
