"""Fit a solved head to source images, to labelled target images, or to both, in the space of the target.

The rule: no label of the target is read here except those of the images that the recipe asks for, so nothing depends on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor

from tlkit import plugin, units
from tlkit.engine.domains import pseudo_labels
from tlkit.engine.estimators import FittedHead, refit
from tlkit.errors import DataError, PluginError
from tlkit.plans.adaptation import Adaptation, needs_probabilities
from tlkit.plugin import Adapter, Affine, Alignment

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
# Fit a head to features (N, F), labels (N,) and groups (N,) or None; also what a search chose, in words.
Fit = Callable[[Features, Labels, NDArray[np.str_] | None], tuple[FittedHead, list[str]]]
_LEAST = 2  # images of a domain


@dataclass(frozen=True, eq=False)
class Rows:
    """What a head is fitted to.

    Attributes:
        features: (N, F).
        labels: (N,).
        groups: (N,) names of images that a search may not part; None where each is on its own.
    """

    features: Features
    labels: Labels
    groups: NDArray[np.str_] | None


@dataclass(frozen=True, eq=False)
class TargetRows:
    """Target images.

    Attributes:
        features: (M, F).
        labelled: (L,) positions of the images whose labels are used.
        labels: (L,) of these.
    """

    features: Features
    labelled: NDArray[np.int64]
    labels: Labels


@dataclass(frozen=True, eq=False)
class Adapted:
    """A head that reads target features as the network gives them.

    Attributes:
        head: The head.
        logits: Its answers (N, classes) for the images that it was fitted to.
        labels: The labels (N,) of these.
        said: What a search and the adaptation did, in words.
        maps: Of both domains; None where the method has none.
    """

    head: FittedHead
    logits: Tensor
    labels: Tensor
    said: list[str]
    maps: Alignment | None


def fit(adaptation: Adaptation, source: Rows, target: TargetRows, fit_head: Fit) -> Adapted:
    """Align both domains, fit a head to the labelled images, and where asked for once more with pseudo-labels.

    Args:
        adaptation: [adapt] with its method.
        source: Source images.
        target: Target images.
        fit_head: Fits a head.

    Raises:
        PluginError: the method or the head fails.
        DataError: the method cannot use these features.
    """
    table = adaptation.table
    maps = aligned(adaptation.adapter, source.features, target.features, adaptation.options)
    to_target = (lambda x: x) if maps is None else lambda x: maps.target(x).astype(np.float32)
    theirs = to_target(target.features)
    mine = source.features if maps is None else maps.source(source.features).astype(np.float32)
    rows = replace(source, features=mine)
    if len(target.labelled) or not table.source:
        rows = _with_labelled(rows if table.source else None, theirs, target, times=table.label_weight)
    head, said = fit_head(rows.features, rows.labels, rows.groups)
    if table.pseudo_labels:
        rows, line = _with_pseudo_labels(adaptation, rows, theirs, target, head)
        head = refit(head, rows.features, rows.labels)
        said = [*said, line]
    logits, labels = head(torch.from_numpy(rows.features)), torch.from_numpy(rows.labels)
    if maps is not None and not maps.target.changes_nothing:
        head = FittedHead(_behind(maps.target, head.estimator), head.classes, warnings=head.warnings)
    return Adapted(head, logits, labels, said, maps)


def aligned(adapter: Adapter | None, source: Features, target: Features, options: BaseModel | None) -> Alignment | None:
    """Return the maps of both domains; None where the method has none.

    Args:
        adapter: The method.
        source: Features (N, F) of source images.
        target: Features (M, F) of target images.
        options: The method's own.

    Raises:
        PluginError: the method fails, or what it gives cannot be used.
        DataError: the method cannot use these features, or there is one image of a domain.
    """
    if adapter is None or not adapter.solve:
        return None
    for name, features in (("source", source), ("target", target)):
        if len(features) < _LEAST:
            raise DataError(
                f"adapt: the {name} has {units.images(len(features))}, of which there are no statistics.", "two at least"
            )
    found = plugin.call(adapter.solve, source, target, options)
    if not isinstance(found, Alignment):
        raise PluginError(f"{adapter.solve}: gave {type(found).__name__}, not a tlkit.plugin.Alignment.")
    widths = []
    for name, domain, features in (("source", found.source, source), ("target", found.target, target)):
        some = features[:3]
        try:
            mapped = domain(some)
        except (ValueError, TypeError, AttributeError) as error:
            raise PluginError(f"{adapter.solve}: its map of {name} features cannot be used: {error}.") from error
        if mapped.ndim != 2 or len(mapped) != len(some):
            raise PluginError(f"{adapter.solve}: its map of {name} features gives {mapped.shape} for {some.shape}.")
        if not np.isfinite(mapped).all():
            raise PluginError(f"{adapter.solve}: its map of {name} features gives numbers that are not finite.")
        widths.append(mapped.shape[1])
    if widths[0] != widths[1]:
        raise PluginError(f"{adapter.solve}: gives source images {widths[0]} features and target images {widths[1]}.")
    return found


def _with_labelled(source: Rows | None, theirs: Features, target: TargetRows, *, times: int) -> Rows:
    """Add labelled target images, each so many times; a search does not part the copies of one."""
    again = np.repeat(np.arange(len(target.labelled)), times)
    few = Rows(
        theirs[target.labelled][again], target.labels[again], np.array([f"target {number}" for number in again.tolist()])
    )
    if source is None:
        return few
    groups = source.groups if source.groups is not None else np.arange(len(source.labels)).astype(np.str_)
    return _joined(replace(source, groups=groups), few)


def _with_pseudo_labels(
    adaptation: Adaptation, rows: Rows, theirs: Features, target: TargetRows, head: FittedHead
) -> tuple[Rows, str]:
    """Add the other target images with the labels that they get; also how many get one, in words."""
    kind, threshold = adaptation.table.pseudo_labels, adaptation.threshold or pseudo_labels.THRESHOLD
    others = np.setdiff1d(np.arange(len(theirs)), target.labelled)
    x = theirs[others]
    probabilities = torch.softmax(head(torch.from_numpy(x)).double(), dim=1).numpy()
    if kind == "confident":
        if not head.logarithms:
            raise needs_probabilities(adaptation)
        chosen, labels = pseudo_labels.confident(probabilities, threshold=threshold)
    else:
        chosen, labels = np.arange(len(x)), pseudo_labels.prototypes(_read(head.estimator, x), probabilities)
    added = Rows(x[chosen], labels, None)
    return _joined(rows, added), f"pseudo-labels: {len(chosen):,} of {len(x):,} images without a label got one ({kind})"


def _read(estimator: Any, x: Features) -> Features:
    """Return features as the last step of an estimator reads them, scaled for instance."""
    found: Features = estimator[:-1].transform(x) if len(getattr(estimator, "steps", ())) > 1 else x
    return found


def _joined(first: Rows, second: Rows) -> Rows:
    groups = None if first.groups is None or second.groups is None else np.concatenate([first.groups, second.groups])
    return Rows(np.concatenate([first.features, second.features]), np.concatenate([first.labels, second.labels]), groups)


def _behind(found: Affine, estimator: Any) -> Any:
    """Return an estimator that reads features through a map, of scikit-learn's own classes: (x - 0) W, and then + bias."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    weight = np.diag(found.weight) if found.weight.ndim == 1 else found.weight
    turn, shift = PCA(n_components=weight.shape[1]), StandardScaler()
    turn.components_, turn.mean_ = np.ascontiguousarray(weight.T), np.zeros(weight.shape[0])
    turn.n_components_, turn.n_features_in_ = weight.shape[1], weight.shape[0]
    turn.explained_variance_ = np.ones(weight.shape[1])
    shift.mean_, shift.scale_, shift.var_ = -found.bias, np.ones(weight.shape[1]), np.ones(weight.shape[1])
    shift.n_features_in_, shift.n_samples_seen_ = weight.shape[1], 1
    return make_pipeline(turn, shift, *[step for _, step in getattr(estimator, "steps", [("", estimator)])])
