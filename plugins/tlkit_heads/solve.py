"""The solved heads' estimators: scikit-learn's, on scaled embeddings where distances or margins count, searched by cross-validation.

Where an option gives the main parameter, or there are too few images or groups for two folds, there is no search.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import TlkitError
from tlkit.plugin import Solving
from tlkit_heads.scorers import scorer
from tlkit_heads.solved import (
    BoostingOptions,
    ForestOptions,
    KnnOptions,
    LdaOptions,
    LogisticOptions,
    SearchOptions,
    SvmOptions,
    TreeOptions,
)

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # positions of the images that an estimator is fitted to, and is scored on


def svm(options: SvmOptions, solving: Solving) -> Any:
    """Return an SVM, one class against the rest for a linear kernel, one against another for a radial one."""
    from sklearn.svm import SVC, LinearSVC

    weight = "balanced" if options.balanced else None
    if options.kernel == "linear":
        machine: Any = LinearSVC(class_weight=weight, random_state=solving.seed, max_iter=10_000, dual="auto")
        return _searched(machine, options, solving, "C", options.C, default=0.01, tried=(1e-4, 1e-3, 1e-2, 0.1, 1.0))
    machine = SVC(kernel="rbf", class_weight=weight, random_state=solving.seed)
    return _searched(machine, options, solving, "C", options.C, default=1.0, tried=(0.1, 1.0, 10.0, 100.0))


def logistic(options: LogisticOptions, solving: Solving) -> Any:
    """Return a multinomial logistic regression with an L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=5_000, class_weight="balanced" if options.balanced else None)
    return _searched(model, options, solving, "C", options.C, default=0.1, tried=(1e-3, 1e-2, 0.1, 1.0, 10.0))


def knn(options: KnnOptions, solving: Solving) -> Any:
    """Return the nearest neighbours' vote."""
    from sklearn.neighbors import KNeighborsClassifier

    most = min([solving.images // 2, *(len(fitted) for fitted, _ in _folds(options, solving))])  # every fold has as many to ask
    tried = [count for count in (1, 3, 5, 9, 15, 25) if count <= max(most, 1)]
    if options.neighbors is not None and options.neighbors > solving.images:
        raise TlkitError(
            f"head.options.neighbors: {options.neighbors} of {solving.images} training images.", f"{most} at most, for instance"
        )
    model = KNeighborsClassifier(weights=options.weights)
    return _searched(
        model, options, solving, "n_neighbors", options.neighbors, default=tried[min(2, len(tried) - 1)], tried=tried
    )


def decision_tree(options: TreeOptions, solving: Solving) -> Any:
    """Return one tree."""
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(random_state=solving.seed, class_weight="balanced" if options.balanced else None)
    return _searched(model, options, solving, "max_depth", options.max_depth, default=8, tried=(2, 4, 8, 16, 32), scaled=False)


def random_forest(options: ForestOptions, solving: Solving) -> Any:
    """Return a forest."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        n_estimators=options.trees, random_state=solving.seed, class_weight="balanced" if options.balanced else None
    )
    given = options.min_samples_leaf
    return _searched(model, options, solving, "min_samples_leaf", given, default=1, tried=(1, 2, 5), scaled=False)


def gradient_boosting(options: BoostingOptions, solving: Solving) -> Any:
    """Return boosted trees on binned values."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    leaf = min(20, max(1, solving.smallest // 3))  # scikit-learn's 20 leaves a tree of few images without a split
    model = HistGradientBoostingClassifier(
        max_iter=options.trees, min_samples_leaf=leaf, random_state=solving.seed, early_stopping=False
    )
    given = options.learning_rate
    return _searched(model, options, solving, "learning_rate", given, default=0.1, tried=(0.03, 0.1, 0.3), scaled=False)


def lda(options: LdaOptions, solving: Solving) -> Any:
    """Return linear discriminants with a shrunk covariance: of fewer images than features the plain one has no inverse."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    seen = len(np.unique(solving.labels))
    if solving.images <= seen:
        raise TlkitError(
            f"head.kind: lda needs more training images than classes, and there are {solving.images} of {seen} classes.",
            'more images, or head.kind = "logistic"',
        )
    model = LinearDiscriminantAnalysis(solver="lsqr")
    return _searched(model, options, solving, "shrinkage", options.shrinkage, default=0.5, tried=(0.01, 0.1, 0.5, 0.9))


def _searched(
    model: Any, options: SearchOptions, solving: Solving, name: str, given: float | None, *,
    default: float, tried: Sequence[float], scaled: bool = True,
) -> Any:  # fmt: skip
    """Return a model with its main parameter as given, or a search for it; where neither can be, with its default."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    whole = make_pipeline(StandardScaler(), model) if scaled and options.scale else make_pipeline(model)
    key = f"{whole.steps[-1][0]}__{name}"
    folds = [] if given is not None else _folds(options, solving)
    if not folds:
        chosen: Mapping[str, Any] = {key: default if given is None else given}
        return whole.set_params(**chosen)
    return GridSearchCV(whole, {key: list(tried)}, cv=folds, scoring=scorer(solving.select_by, model))


def _folds(options: SearchOptions, solving: Solving) -> list[Fold]:
    """Return the folds of a search, none where there cannot be two.

    There are as many as two classes have images for, or groups: a rare class is in some folds, and does not lessen their number.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    members = [len(np.unique(_members(solving)[solving.labels == label])) for label in np.unique(solving.labels)]
    count = min(options.folds, sorted(members)[-2])
    if count < 2:
        return []
    splitter = StratifiedKFold if solving.groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer images than there are folds
        found = list(
            splitter(count, shuffle=True, random_state=solving.seed).split(solving.labels, solving.labels, solving.groups)
        )
    usable = [(fitted, scored) for fitted, scored in found if len(scored) and len(np.unique(solving.labels[fitted])) > 1]
    return usable if len(usable) > 1 else []


def _members(solving: Solving) -> NDArray[Any]:
    """Return the group of each image; without groups each image is its own."""
    return np.arange(solving.images) if solving.groups is None else solving.groups
