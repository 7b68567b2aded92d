"""The difference of an arm to another as text, for the result table and the page. Nothing here prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def head(baseline: str, target: str) -> str:
    """Return the head of the column of differences.

    Args:
        baseline: Name of the arm that the others are compared with.
        target: That arms with [adapt] are compared on; "" where they are compared on test images.
    """
    return f"against {baseline}{f', {target}' if target else ''} (points)"


def short(found: Mapping[str, Any]) -> str:
    """Return a difference in points with its interval and p-value, as a table's cell.

    Of one or two seeds, and where the difference is the same in every seed, there is no interval, and each p-value is that of McNemar's test
    of one seed; equal ones are told once. Folds share training images: their difference has neither.

    Args:
        found: "difference" of an arm in result.json.
    """
    text = points(found["mean"])
    if found["p"] is not None:
        return f"{text} ({points(found['low'])} to {points(found['high'])}), {p_value(found['p'])}"
    if any(run["fold"] is not None for run in found["runs"]):
        return text
    return f"{text}, {' and '.join(dict.fromkeys(p_value(run['p']) for run in found['runs']))}"


def points(difference: float) -> str:
    """Return a difference between accuracies in percentage points, with its sign."""
    return f"{difference * 100:+.1f}"


def p_value(value: float) -> str:
    """Return a p-value in words."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"
