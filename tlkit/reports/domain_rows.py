"""What adapting to another domain gained, as lines below the result table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tlkit.record import domains


def notes(arms: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the part of the gap that each arm closes, and whether a few labels are worth more than every method without.

    Args:
        arms: Of a recipe's result.json.
    """
    for name, arm in arms.items():
        gap = arm.get(domains.KEY, {}).get("gap")
        if gap is not None:
            between = f"between {gap['source_only']} and {gap['target_trained']}"
            yield f"adapt      {name}, {arm[domains.KEY]['target']}: closes {_part(gap)} of the gap {between}{_why(gap)}"
    worth = domains.labels_are_worth_more(arms)
    if worth is not None:
        few, rival = worth
        count = arms[few][domains.KEY]["labels_per_class"]
        yield f"labels     {few}, with {count} of each class, is better on the target than every arm without ({rival} is the best)"


def _part(gap: Mapping[str, Any]) -> str:
    """Return the part of a gap that an arm closes, with its 95 % interval where it has one."""
    interval = "" if gap.get("low") is None else f" ({gap['low']:.0%} to {gap['high']:.0%})"
    return f"{gap['closed']:.0%}{interval}"


def _why(gap: Mapping[str, Any]) -> str:
    """Return why there is no interval; "" where there is one."""
    return f"; no interval: {gap['why_no_interval']}" if gap.get("why_no_interval") else ""
