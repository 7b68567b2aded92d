"""How scores on validation images decide between two epochs, or between two runs. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from tlkit import tasks

USUAL = tasks.USUAL
# Scores of the target of [adapt] that need no label: see tlkit/engine/domains/scores.py.
WITHOUT_LABELS = ("entropy", "snd", "bnm", "ami")
_LOWER = ("loss", "entropy")  # of which less is better


def worth(scores: Mapping[str, float] | None, by: str) -> tuple[float, float]:
    """Return what better scores have more of: the metric, and where that is equal, minus the loss.

    Args:
        scores: Metrics of validation images. One that these images do not define is worth less than any number.
        by: Name of the metric; of a loss and an entropy, less is better.
    """
    known = scores or {}
    loss = known.get("loss", math.inf)
    value = known.get(by)
    return -math.inf if value is None else -value if by in _LOWER else value, -loss


def decisive(validation: Mapping[str, float] | None, target: Mapping[str, float] | None, by: str) -> Mapping[str, float] | None:
    """Return the scores that a metric is looked up in; None where there are none.

    Args:
        validation: Metrics of validation images.
        target: Scores of the target of [adapt] that need no label; the loss on validation images decides between equal ones.
        by: Name of the metric.
    """
    if by not in WITHOUT_LABELS or target is None:
        return validation
    return {"loss": math.inf, **(validation or {}), **target}


def shared(metrics: Iterable[str]) -> str:
    """Return the metric by which runs are compared: the one that all of them were selected by, else accuracy."""
    names = set(metrics)
    return names.pop() if len(names) == 1 else USUAL


def epoch_in_words(by: str, *, validated: bool, label: str = "") -> str:
    """Return which epoch's scores are shown.

    Args:
        by: The metric that chose it.
        validated: There were validation images.
        label: The metric in words, where a reader should see it.
    """
    if by in WITHOUT_LABELS:
        return f"the best epoch by {by} of the target, without its labels"
    return f"the best epoch by validation{f' {label}' if label else ''}" if validated else "the last epoch"


def shown(scores: Mapping[str, float], by: str) -> str:
    """Return the metric's value with its name: "93.1%" of an accuracy, "AUROC 0.914"."""
    text = value(scores, by)
    return text if by == USUAL else f"{tasks.metric_label(by)} {text or 'not defined'}"


def value(scores: Mapping[str, float], by: str) -> str:
    """Return the metric's value as text: "93.1%", "0.914"; "" where these images do not define it."""
    if by not in scores:
        return ""
    return f"{scores[by]:.1%}" if percent(by) else f"{scores[by]:.3f}"


def percent(by: str) -> bool:
    """Return whether a metric is shown in percent."""
    labels = tasks.metric_labels()
    return by == USUAL or (by in labels and labels[by].percent)
