"""How a report shows where the time of runs went: seconds by kind of work, as a chart, a table and a timeline.

The rule: a training step runs what trains of the backbone (the suffix) and the head as one; its seconds are divided between the two in
proportion to their operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.plans.choices import flops
from tlkit.plans.plan import Plan
from tlkit.recipe.maps import HEAD
from tlkit.reports.page.charts import COLOURS, Chart, rounded
from tlkit.reports.page.runs import ShownArm, ShownRun

_SUFFIX, _HEAD = "trained stages", "head"
_OTHER = "saving and the rest"
_BEFORE = {"decoding": "decoding", "trial": "trial of precisions"}  # before the epoch that tells of it, and not in its seconds
_AFTER = {"test": "test at the end", "report": "pictures for this page"}  # as result.json has them
_KINDS = {  # as metrics.jsonl has them; "steps" are divided
    **_BEFORE,
    "storing": "frozen stages, stored once",
    "input": "pictures or stored rows, augmentation",
    "prefix": "frozen stages, every epoch",
    "solving": "embedding, and solving the head",
    "evaluation": "evaluation",
}
_ORDER = (
    *_BEFORE.values(), _KINDS["storing"], _KINDS["input"], _KINDS["prefix"], _SUFFIX, _HEAD, _KINDS["solving"],
    _KINDS["evaluation"], *_AFTER.values(), _OTHER,
)  # fmt: skip
_EPOCHS = 60  # of a timeline, at most


def by_kind(arms: Sequence[ShownArm]) -> Chart:
    """Draw the seconds of each arm by kind of work."""
    spent = table(arms)
    data = [
        {
            "y": [arm.name for arm in arms],
            "x": [rounded(spent[arm.name][kind]) for arm in arms],
            "type": "bar",
            "orientation": "h",
            "name": kind,
            "marker": {"color": COLOURS[number]},
        }
        for number, kind in enumerate(_ORDER)
        if kind in spent[arms[0].name]
    ]
    alt = "; ".join(f"{arm.name} {sum(spent[arm.name].values()):.0f} s" for arm in arms)
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "seconds"}},
        "legend": {"traceorder": "normal"},
        "yaxis": {"automargin": True, "autorange": "reversed"},
    }
    height = _height(arms)
    return Chart("times", "Time by kind of work", f"Stacked bars of seconds: {alt}.", data, layout, height=height)


def table(arms: Sequence[ShownArm]) -> dict[str, dict[str, float]]:
    """Return arm -> kind of work -> seconds of all its runs; kinds that none had are left out."""
    found = {}
    for arm in arms:
        sums = dict.fromkeys(_ORDER, 0.0)
        for run in arm.runs:
            parts = [*(_epoch(run, line) for line in run.metrics), _after(run)]
            for each in parts:
                for kind, seconds in each.items():
                    sums[kind] += seconds
            sums[_OTHER] += max(run.result.seconds - sum(map(_within, parts)), 0.0)
        found[arm.name] = sums
    had = [kind for kind in _ORDER if any(sums[kind] for sums in found.values())]
    return {name: {kind: sums[kind] for kind in had} for name, sums in found.items()}


def _epoch(run: ShownRun, line: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of an epoch by kind of work."""
    given = line.get("times", {})
    found = {name: given[kind] for kind, name in _KINDS.items() if given.get(kind)}
    steps = given.get("steps", 0.0)
    if steps:
        share = _head_share(run.plan, line["phase"])
        found |= {kind: seconds for kind, seconds in ((_SUFFIX, steps * (1 - share)), (_HEAD, steps * share)) if seconds}
    return found


def _after(run: ShownRun) -> dict[str, float]:
    """Return the seconds after the last epoch by kind of work."""
    return {name: run.result.times[kind] for kind, name in _AFTER.items() if kind in run.result.times}


def _within(spent: Mapping[str, float]) -> float:
    """Return the seconds of a part of a run that are in the seconds of the run."""
    return sum(seconds for kind, seconds in spent.items() if kind not in _BEFORE.values())


def _head_share(plan: Plan, phase: int) -> float:
    """Return the head's part of the operations of a training step in a phase, from 1."""
    suffix = flops(plan, len(plan.phases[min(phase, len(plan.phases)) - 1].prefix), plan.depth)
    head = sum(stage.flops for stage in plan.stages[plan.depth :] if stage.name == HEAD)
    return head / (suffix + head) if suffix else 1.0


def timeline(arms: Sequence[ShownArm]) -> Chart | None:
    """Draw what the first run of each arm did when."""
    bars: dict[str, dict[str, list[Any]]] = {name: {"y": [], "x": [], "base": []} for name in _ORDER}
    for arm in arms:
        at, parts = 0.0, list[dict[str, float]]()
        for line in arm.first.metrics[:_EPOCHS]:
            known = _epoch(arm.first, line)
            parts.append({name: known[name] for name in _ORDER if name in known})
            parts[-1][_OTHER] = max(line["seconds"] - _within(known), 0.0)
        for spent in (*parts, *([_after(arm.first)] if len(arm.first.metrics) <= _EPOCHS else [])):
            for name, seconds in spent.items():
                bars[name]["y"].append(arm.name)
                bars[name]["x"].append(rounded(seconds))
                bars[name]["base"].append(rounded(at))
                at += seconds
    if not any(line.get("times") for arm in arms for line in arm.first.metrics):
        return None
    data = [
        {**each, "type": "bar", "orientation": "h", "name": name, "marker": {"color": COLOURS[number]}}
        for number, (name, each) in enumerate(bars.items())
        if each["x"]
    ]
    longest = max(len(arm.first.metrics) for arm in arms)
    some = f" (the first {_EPOCHS} epochs)" if longest > _EPOCHS else ""
    layout = {"barmode": "overlay", "xaxis": {"title": {"text": f"seconds since the run began{some}"}, "rangemode": "tozero"},
              "yaxis": {"automargin": True, "autorange": "reversed"}}  # fmt: skip
    alt = f"Timeline of the first run of each arm, epoch by epoch{some}: the same seconds as in the table below, in the order of time."
    return Chart("timeline", "Timeline", alt, data, layout, height=_height(arms))


def _height(arms: Sequence[ShownArm]) -> int:
    """Return pixels for the bars of all arms, and for a legend that is a column on a phone."""
    return 250 + 34 * len(arms)
