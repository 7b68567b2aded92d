"""Ensembles of result.json in words: the name of their row, and what a person should know of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from tlkit import tasks
from tlkit.record import run_folder, selection


def name(record: Mapping[str, Any]) -> str:
    """Return the name of an ensemble's row."""
    kind = "mean" if record["average"] == "probabilities" else "soup"
    return f"{record['name']} ({kind} of seeds)" if record["of"] == "seeds" else f"{record['name']} ({kind})"


def notes(
    record: Mapping[str, Any], main: str = selection.USUAL, tested: Mapping[str, Mapping[str, float] | None] | None = None
) -> Iterator[str]:
    """Yield a line for each run of an ensemble: how much better it is than its members, whose weights a soup has, why there is none.

    Args:
        record: As result.json has it.
        main: The metric of the table or page.
        tested: Scores of runs on test images by the name of their folder, for another metric than accuracy.
    """
    mine = name(record)
    for run in record["runs"]:
        at = "" if run["seed"] is None else run_folder.label("", run["seed"], run["fold"])
        if run["why_none"]:
            yield f"ensemble   {mine}{at}: none, {run['why_none']}"
        elif record["average"] == "weights":
            yield f"ensemble   {mine}{at}: the weights of {len(run['used'])} of {len(run['members'])}: {', '.join(run['used'])}"
    members = record["member_accuracy"] if main == selection.USUAL else _members(record, main, tested or {})
    if main not in (record["test"] or {}) or members is None:
        return
    mean = record["test"][main]["mean"]
    more, points = round(mean - members, 3) + 0.0, round(100 * (mean - members), 1) + 0.0  # no minus before 0
    change = f"{points:+.1f} points" if selection.percent(main) else f"{more:+.3f}"
    together, alone = selection.value({main: mean}, main), selection.value({main: members}, main)
    yield f"ensemble   {mine}: {tasks.metric_label(main)} {together}, its members {alone} on average ({change})"


def _members(record: Mapping[str, Any], metric: str, tested: Mapping[str, Mapping[str, float] | None]) -> float | None:
    """Return a metric of the members on test images, mean over the members of each ensemble and over these; None where one has none."""
    each = [[(tested.get(name) or {}).get(metric) for name in run["members"]] for run in record["runs"] if not run["why_none"]]
    known = [[value for value in values if value is not None] for values in each]
    return statistics.fmean(map(statistics.fmean, known)) if known and known == each else None
