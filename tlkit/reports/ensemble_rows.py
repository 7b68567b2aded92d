"""Ensembles of result.json in words: the name of their row, and what a person should know of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tlkit.record import run_folder


def name(record: Mapping[str, Any]) -> str:
    """Return the name of an ensemble's row."""
    kind = "mean" if record["average"] == "probabilities" else "soup"
    return f"{record['name']} ({kind} of seeds)" if record["of"] == "seeds" else f"{record['name']} ({kind})"


def notes(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each run of an ensemble: how much better it is than its members, whose weights a soup has, why there is none."""
    mine = name(record)
    for run in record["runs"]:
        at = "" if run["seed"] is None else run_folder.label("", run["seed"], run["fold"])
        if run["why_none"]:
            yield f"ensemble   {mine}{at}: none, {run['why_none']}"
        elif record["average"] == "weights":
            yield f"ensemble   {mine}{at}: the weights of {len(run['used'])} of {len(run['members'])}: {', '.join(run['used'])}"
    if record["test"] and record["member_accuracy"] is not None:
        mean = record["test"]["accuracy"]["mean"]
        points = round(100 * (mean - record["member_accuracy"]), 1) + 0.0  # no minus before 0
        yield f"ensemble   {mine}: accuracy {mean:.1%}, its members {record['member_accuracy']:.1%} on average ({points:+.1f} points)"
