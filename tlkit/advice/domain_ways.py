"""Ways to use the labelled images of two domains, each judged on images of the target that its head has not seen.

The rule: a way is fitted by what a run fits it by, `adapting.fit`, so the recipe that is written does what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit.advice import probes
from tlkit.advice.budget import Budget
from tlkit.engine import adapting, estimators
from tlkit.engine.adapting import Rows, TargetRows
from tlkit.engine.estimators import FittedHead
from tlkit.errors import TlkitError
from tlkit.plans import adaptation
from tlkit.plugin import Head, Solving, registry
from tlkit.recipe import parsing
from tlkit.recipe.domains import AdaptTable
from tlkit.record.domain_advice import Compared, Verdict

HEAD, PENALTY = "logistic", 0.01  # its C: as the pairs of docs/domains.md were measured
TARGET, BOTH = "target", "both"
# Name -> (in words, keys of [adapt] but for `target` and `labels_per_class`, whether the target's labels are used). The cheapest to explain first.
WAYS: Mapping[str, tuple[str, Mapping[str, Any], bool]] = {
    TARGET: ("the target's labelled images alone", {"source": False}, True),
    "source": ("the source alone", {}, False),
    BOTH: ("source and the target's labelled images", {}, True),
    "stats": ("the target's mean and deviation, without its labels", {"method": "stats"}, False),
    "prototypes": ("pseudo-labels by prototypes, without its labels", {"pseudo_labels": "prototypes"}, False),
    "stats_both": ("the target's mean and deviation, and its labelled images", {"method": "stats"}, True),
    "coral": ("the target's covariance, without its labels", {"method": "coral"}, False),
    "linot": ("the target's covariance by optimal transport, without its labels", {"method": "linot"}, False),
}
_NORMAL = 1.96  # standard deviations of a 95 % interval


@dataclass(frozen=True, eq=False)
class Domains:
    """Features of both domains.

    Attributes:
        source: (n, F) with the classes of the source's images.
        target: (m, F) of labelled images of the target.
        labels: Their classes (m,).
        groups: Images of one number go into one fold (m,).
        classes: How many there are.
    """

    source: Rows
    target: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: int


def table(name: str, *, target: str, labels: int) -> AdaptTable:
    """Return [adapt] of a way.

    Args:
        name: Of the way.
        target: The target's name in [also].
        labels: Labelled images of each class, where it uses them.
    """
    _, keys, labelled = WAYS[name]
    return AdaptTable(target=target, labels_per_class=labels if labelled else 0, **keys)


def compare(domains: Domains, *, budget: Budget, watch: Callable[[], None]) -> tuple[Compared, ...]:
    """Judge every way by cross-validation on the target's images, as long as there is time.

    Args:
        domains: Features of both.
        budget: The time that is left.
        watch: Called between two fits; may raise to stop.
    """
    folds = probes.stratified_folds(domains.target, domains.labels, domains.groups)
    right: dict[str, NDArray[np.float64]] = {}
    why_not: dict[str, str] = {}
    longest = 0.0
    for name in WAYS:
        if right and longest > budget.left:
            why_not[name] = f"takes about {longest:.0f} s, and {budget.left:.0f} s are left"
            continue
        began = budget.clock()
        try:
            right[name] = _judged(name, domains, folds, watch)
        except TlkitError as error:
            why_not[name] = error.problem
        longest = max(longest, budget.clock() - began)
    alone = right.get(TARGET)
    return tuple(_compared(name, right.get(name), alone, why_not.get(name, "")) for name in WAYS)


def best(compared: tuple[Compared, ...]) -> Compared:
    """Return the way with the highest accuracy; of equal ones the first.

    Raises:
        TlkitError: none was tried.
    """
    tried = [each for each in compared if each.accuracy is not None]
    if not tried:
        raise TlkitError(f"advise: no way to use the domains can be tried: {compared[0].why_not}")
    return max(tried, key=lambda each: each.accuracy or 0.0)


def verdict(compared: tuple[Compared, ...]) -> tuple[Verdict, str]:
    """Say whether images of the source help beside the target's labelled ones."""
    found = next(each for each in compared if each.name == BOTH)
    if found.gain is None:
        return "", ""
    low, high = (100 * each for each in found.interval)
    measured = f"{100 * found.gain:+.1f} points beside the target's labelled images (95 % interval {low:+.1f} to {high:+.1f})"
    if low > 0:
        return "help", f"Images of the source help: {measured}."
    if high < 0:
        return "hurt", f"Images of the source hurt: {measured}."
    return "unclear", f"Whether images of the source help cannot be told from so few of the target: {measured}."


def _judged(name: str, domains: Domains, folds: probes.Folds, watch: Callable[[], None]) -> NDArray[np.float64]:
    """Return 1 for each image of the target (m,) that a way's head is right about, else 0."""
    found = adaptation.look_up(table(name, target="target", labels=1))
    labelled, right = WAYS[name][2], np.zeros(len(domains.labels))
    for train, test in folds:
        watch()
        chosen = np.arange(len(train)) if labelled else np.empty(0, np.int64)
        rows = TargetRows(domains.target[train], chosen, domains.labels[train][chosen])
        head = adapting.fit(found, domains.source, rows, lambda x, y, groups: _fitted(x, y, groups, domains.classes)).head
        answers = head(torch.from_numpy(domains.target[test])).argmax(1).numpy()
        right[test] = answers == domains.labels[test]
    return right


def _fitted(
    x: NDArray[np.float32], y: NDArray[np.int64], groups: NDArray[np.str_] | None, classes: int
) -> tuple[FittedHead, list[str]]:
    """Fit the head that the recipe has."""
    head = registry.get(Head, HEAD)
    options = parsing.options(head.options, {"C": PENALTY}, place="head.options")
    return estimators.fit(head, options, x, y, Solving(y, x.shape[1], classes, 0, groups, "accuracy"))


def _compared(name: str, right: NDArray[np.float64] | None, alone: NDArray[np.float64] | None, why_not: str) -> Compared:
    plain = Compared(name, WAYS[name][0], why_not=why_not)
    if right is None:
        return plain
    plain = replace(plain, accuracy=float(right.mean()), error=probes.standard_error(right))
    if alone is None or name == TARGET:
        return plain
    gain, error = float((right - alone).mean()), probes.standard_error(right - alone)
    return replace(plain, gain=gain, interval=(gain - _NORMAL * error, gain + _NORMAL * error))
