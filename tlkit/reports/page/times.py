"""How a report shows where the time of runs went: seconds by kind of work, as a chart, a table and a timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlkit.reports.page.charts import COLOURS, Chart, rounded
from tlkit.reports.page.runs import ShownArm

_KINDS = {
    "storing": "prefix stored",
    "input": "pictures, augmentation, prefix",
    "steps": "training steps",
    "evaluation": "evaluation",
}
_OTHER = "saving and the rest"
_EPOCHS = 60  # of a timeline, at most


def by_kind(arms: Sequence[ShownArm]) -> Chart:
    """Draw the seconds of each arm by kind of work."""
    spent = table(arms)
    kinds = [*_KINDS.values(), _OTHER]
    data = [
        {
            "y": [arm.name for arm in arms],
            "x": [rounded(spent[arm.name][kind]) for arm in arms],
            "type": "bar",
            "orientation": "h",
            "name": kind,
            "marker": {"color": COLOURS[number % len(COLOURS)]},
        }
        for number, kind in enumerate(kinds)
    ]
    alt = "; ".join(f"{arm.name} {sum(spent[arm.name].values()):.0f} s" for arm in arms)
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "seconds"}},
        "yaxis": {"automargin": True, "autorange": "reversed"},
    }
    height = 150 + 34 * len(arms)
    return Chart("times", "Time by kind of work", f"Stacked bars of seconds: {alt}.", data, layout, height=height)


def table(arms: Sequence[ShownArm]) -> dict[str, dict[str, float]]:
    """Return arm -> kind of work -> seconds of all its runs."""
    found = {}
    for arm in arms:
        sums = dict.fromkeys([*_KINDS.values(), _OTHER], 0.0)
        for run in arm.runs:
            for line in run.metrics:
                for kind, seconds in line.get("times", {}).items():
                    sums[_KINDS.get(kind, _OTHER)] += seconds
            sums[_OTHER] += max(run.result.seconds - sum(sum(line.get("times", {}).values()) for line in run.metrics), 0.0)
        found[arm.name] = sums
    return found


def timeline(arms: Sequence[ShownArm]) -> Chart | None:
    """Draw what the first run of each arm did when."""
    bars: dict[str, dict[str, list[Any]]] = {name: {"y": [], "x": [], "base": []} for name in [*_KINDS.values(), _OTHER]}
    for arm in arms:
        at = 0.0
        for line in arm.first.metrics[:_EPOCHS]:
            given = line.get("times", {})
            spent = {_KINDS[kind]: given[kind] for kind in _KINDS if given.get(kind)}
            spent[_OTHER] = max(line["seconds"] - sum(spent.values()), 0.0)
            for name, seconds in spent.items():
                bars[name]["y"].append(arm.name)
                bars[name]["x"].append(rounded(seconds))
                bars[name]["base"].append(rounded(at))
                at += seconds
    if not any(line.get("times") for arm in arms for line in arm.first.metrics):
        return None
    data = [
        {**each, "type": "bar", "orientation": "h", "name": name, "marker": {"color": COLOURS[number % len(COLOURS)]}}
        for number, (name, each) in enumerate(bars.items())
        if each["x"]
    ]
    longest = max(len(arm.first.metrics) for arm in arms)
    some = f" (the first {_EPOCHS} epochs)" if longest > _EPOCHS else ""
    layout = {"barmode": "overlay", "xaxis": {"title": {"text": f"seconds since the run began{some}"}},
              "yaxis": {"automargin": True, "autorange": "reversed"}}  # fmt: skip
    alt = f"Timeline of the first run of each arm, epoch by epoch{some}: the same seconds as in the table below, in the order of time."
    return Chart("timeline", "Timeline", alt, data, layout, height=150 + 34 * len(arms))
