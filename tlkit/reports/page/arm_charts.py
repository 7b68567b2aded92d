"""Charts of the arms of a recipe: metrics and rates over epochs, accuracy over cost, and how far each stage moved."""

from __future__ import annotations

import statistics as numbers
from collections.abc import Mapping, Sequence
from typing import Any

from tlkit import tasks
from tlkit.record import selection
from tlkit.reports.page import arm_scores, over_fitting
from tlkit.reports.page.charts import COLOURS, Chart, height, rounded
from tlkit.reports.page.runs import ShownArm, ShownRun
from tlkit.reports.plan_table import rate_text

_BASIC = ("accuracy", "loss")  # of every task
_HELD_OUT = ("validation", "test")
_SERIES = (
    ("test", "test", "solid", True),
    ("train_evaluated", "train", "dash", True),
    ("train", "train, mean over the batches", "dot", False),
    ("validation", "validation", "dashdot", False),
    ("aux_loss", "auxiliary loss", "longdash", True),
)
_NOTED = 3  # arms whose over-fitting is written into the chart; of more, the list below tells
_TICKS = 20  # epochs of which each has its tick
_MARKED = 30  # points of a line of which each has its mark
_WIDE = 20  # times the least loss, from which on the scale is logarithmic


def judged(arms: Sequence[ShownArm]) -> Chart:
    """Draw the metric that the task is judged by; where not all epochs have it, the one that the lines of epochs show."""
    return curves(arms, _judged(arms))


def deciding(arms: Sequence[ShownArm]) -> Chart | None:
    """Draw the metric that chooses epochs, where it is drawn neither by `judged` nor as the loss; None where no epoch has it."""
    by = selection.shared(run.result.select_by for arm in arms for run in arm.runs)
    known = any(by in scores for scores in _held_out(arms))
    return curves(arms, by) if by not in (*_BASIC, _judged(arms)) and known else None


def _judged(arms: Sequence[ShownArm]) -> str:
    return tasks.drawn_by(_held_out(arms), arm_scores.judged_by(arms))


def _held_out(arms: Sequence[ShownArm]) -> list[Mapping[str, float]]:
    """Return the scores of held-out images after each epoch."""
    return [
        scores for arm in arms for run in arm.runs for line in run.metrics for key in _HELD_OUT if (scores := line.get(key))
    ]


def curves(arms: Sequence[ShownArm], metric: str) -> Chart:
    """Draw a metric of training, validation and test images after each epoch."""
    data: list[dict[str, Any]] = []
    epochs: list[list[float]] = []
    seconds: list[list[float]] = []
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for place, arm in enumerate(arms):
        colour = COLOURS[place % len(COLOURS)]
        for run in arm.runs:
            total = _cumulative(run)
            for key, words, dash, always in _SERIES:
                if key == "aux_loss":
                    points = _auxiliary(run) if metric == "loss" else []
                else:
                    each = [(n, (line.get(key) or {}).get(metric)) for n, line in enumerate(run.metrics)]
                    points = [(n, value) for n, value in each if value is not None]
                if not points:
                    continue
                epochs.append([run.metrics[n]["epoch"] for n, _ in points])
                seconds.append([total[n] for n, _ in points])
                first = run is arm.first
                shown = always or (key == "validation" and not _tested(run, metric)) or (key == "train" and not _evaluated(run))
                every = key == "aux_loss" or len(points) == sum(bool(line.get(key)) for line in run.metrics)
                data.append(
                    {
                        "x": epochs[-1],
                        "y": [rounded(value) for _, value in points],
                        "type": "scatter",
                        "mode": _mode(points) if every else "markers",  # a line would pass epochs that lack it
                        "name": f"{arm.name}, {words}",
                        "legendgroup": f"{arm.name}, {words}",
                        "showlegend": first,
                        "visible": True if shown else "legendonly",
                        "line": {"color": colour, "dash": dash, "width": 2 if first else 1},
                        "marker": {"size": 5},
                        "hovertemplate": f"%{{y}}<extra>{arm.name}, {words}, seed {run.result.seed}</extra>",
                    }
                )
        _mark(arm, colour, shapes, notes, row=place)
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "epoch"}, **_ticks(arms)},
        "yaxis": {"title": {"text": metric if metric in _BASIC else _label(metric)}, **_scale(metric, data)},
        "shapes": shapes,
        "annotations": notes if metric == "loss" and len(notes) <= _NOTED else [],
        "hovermode": "closest",
    }
    return Chart(
        f"curves-{metric}",
        _label(metric),
        f"Line chart of {tasks.metric_label(metric)} after each epoch. " + "; ".join(_last(arm, metric) for arm in arms) + ".",
        data,
        layout,
        {"epoch": epochs, "seconds": seconds},
        height(data),
    )


def rates(arms: Sequence[ShownArm]) -> Chart | None:
    """Draw the learning rate of every group at the end of each epoch."""
    data = []
    for place, arm in enumerate(arms):
        run = arm.first
        groups = dict.fromkeys(group for line in run.metrics for group in line["lr"])
        for number, group in enumerate(groups):
            points = [(line["epoch"], line["lr"][group]) for line in run.metrics if group in line["lr"]]
            data.append(
                {
                    "x": [epoch for epoch, _ in points],
                    "y": [float(f"{rate:.4g}") for _, rate in points],
                    "type": "scatter",
                    "mode": _mode(points),
                    "name": f"{arm.name}, {group}",
                    "line": {"color": COLOURS[place % len(COLOURS)], "dash": ("solid", "dash", "dot", "dashdot")[number % 4]},
                }
            )
    if not data:
        return None
    peaks = "; ".join(
        f"{arm.name}: {', '.join(f'{group.name} {rate_text(group.lr)}' for group in arm.first.plan.groups)}" for arm in arms
    )
    layout = {
        "xaxis": {"title": {"text": "epoch"}, **_ticks(arms)},
        "yaxis": {"title": {"text": "learning rate at the epoch's end"}, "type": "log", "tickformat": "~e"},
    }
    return Chart(
        "rates",
        "Learning rates",
        f"Line chart of the learning rate of each group. Peak rates: {peaks}.",
        data,
        layout,
        {},
        height(data),
    )


def tradeoff(arms: Sequence[ShownArm]) -> Chart | None:
    """Draw accuracy, or what else the task is judged by, over parameters, seconds an epoch and seconds in all.

    An arm whose images do not define the metric has no point; None where fewer than two arms have one.
    """
    by = arm_scores.judged_by(arms)
    known = {arm.name: [run.scores[by] for run in arm.runs if by in run.scores] for arm in arms}
    means = {name: numbers.fmean(values) for name, values in known.items() if values}
    if len(means) < 2:
        return None
    axes: dict[str, list[list[float]]] = {
        "parameters": [],
        "trained parameters": [],
        "seconds an epoch": [],
        "seconds in all": [],
    }
    data: list[dict[str, Any]] = []
    for place, arm in enumerate(arms):
        if arm.name not in means:
            continue
        result = arm.first.result
        times = [line["seconds"] for run in arm.runs for line in run.metrics] or [0.0]
        whole = numbers.fmean(run.result.seconds for run in arm.runs)
        values = (result.parameters.total, result.parameters.trained, numbers.median(times), whole)
        for name, value in zip(axes, values, strict=True):
            axes[name].append([rounded(value)])
        data.append(
            {
                "x": axes["parameters"][-1],
                "y": [rounded(means[arm.name])],
                "type": "scatter",
                "mode": "markers+text",
                "text": [arm.name],
                "textposition": "top center",
                "cliponaxis": False,  # a name beside the edge is read all the same
                "name": arm.name,
                "marker": {"size": 12, "color": COLOURS[place % len(COLOURS)]},
            }
        )
    for name in list(axes)[:-1]:
        if len({each[0] for each in axes[name]}) == 1:  # a column of points says nothing
            del axes[name]
    for each, x in zip(data, next(iter(axes.values())), strict=True):
        each["x"] = x
    if len(data) > 1:
        for each, side in ((min(data, key=lambda each: each["x"]), "right"), (max(data, key=lambda each: each["x"]), "left")):
            each["textposition"] = f"top {side}"
    alt = "; ".join(f"{each['name']} {selection.value({by: each['y'][0]}, by)}" for each in data)
    layout = {
        "xaxis": {"title": {"text": next(iter(axes))}},
        "yaxis": {"title": {"text": f"{arms[0].first.split} {tasks.metric_label(by)}"}, **_scale(by, data)},
        "showlegend": False,
    }
    label = tasks.metric_label(by)
    title, words = f"{_label(by)} and what it costs", f"Scatter chart of {label} over cost: {alt}."
    return Chart("tradeoff", title, words, data, layout, axes)


def changes(arms: Sequence[ShownArm]) -> Chart | None:
    """Draw how far each stage moved from where it began."""
    known = [
        (place, arm, arm.first.data.about["changes"]) for place, arm in enumerate(arms) if arm.first.data.about.get("changes")
    ]
    if not any(value for _, _, moved in known for value in moved.values()):  # as where all heads are solved
        return None
    data = [
        {
            "x": list(moved),
            "y": [float(f"{value:.4g}") for value in moved.values()],
            "type": "bar",
            "name": arm.name,
            "marker": {"color": COLOURS[place % len(COLOURS)]},
        }
        for place, arm, moved in known
    ]
    words = []
    for _, arm, moved in known:
        frozen = [stage for stage, value in moved.items() if value == 0]
        most = max(moved, key=lambda stage: moved[stage])
        still = f", exactly 0 in {', '.join(frozen)}" if frozen else ""
        words.append(f"{arm.name} most in {most} ({moved[most]:.2g}){still}")
    layout = {"barmode": "group", "yaxis": {"title": {"text": "|after - before| / |before|"}}, "xaxis": {"type": "category"}}
    return Chart(
        "changes", "Where each arm learned", f"Bar chart of the relative change by stage: {'; '.join(words)}.", data, layout
    )


def _label(metric: str) -> str:
    """Return the title of a metric: Dice, mAP; of others the name with a capital."""
    labels = tasks.metric_labels()
    return labels[metric].label if metric in labels else metric.capitalize()


def _auxiliary(run: ShownRun) -> list[tuple[int, float]]:
    """Return the loss of the auxiliary classifiers after each epoch; where they never run in training, the one number that it is."""
    fixed = run.data.about.get("aux_loss")
    if fixed is not None:
        return [(n, fixed["loss"]) for n in range(len(run.metrics))]
    return [(n, line["train"]["aux_loss"]) for n, line in enumerate(run.metrics) if "aux_loss" in line["train"]]


def _scale(metric: str, data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the axis of a metric: accuracy in percent, and a loss that spans more than a factor of 20 on a logarithmic scale."""
    if metric == "accuracy":
        return {"tickformat": ".2~%"}  # of few points a tick is a part of one
    if metric != "loss":
        return {"rangemode": "tozero"}
    values = [value for trace in data for value in trace["y"] if value > 0]
    return {"type": "log", "tickformat": "~g", "dtick": "D2"} if values and max(values) > _WIDE * min(values) else {}


def _ticks(arms: Sequence[ShownArm]) -> dict[str, int]:
    """Return how far the ticks of an axis of epochs are apart, where there are few of them."""
    return {"dtick": 1} if max(len(arm.first.metrics) for arm in arms) <= _TICKS else {}


def _evaluated(run: ShownRun) -> bool:
    return any(line.get("train_evaluated") for line in run.metrics)


def _tested(run: ShownRun, metric: str) -> bool:
    """Return whether test images are evaluated after each epoch, and not at the end alone, and all have the metric."""
    tests = [test for line in run.metrics if (test := line.get("test"))]
    return bool(tests) and all(metric in test for test in tests)


def _mode(points: Sequence[object]) -> str:
    return "lines+markers" if len(points) <= _MARKED else "lines"


def _cumulative(run: ShownRun) -> list[float]:
    total, found = 0.0, []
    for line in run.metrics:
        total += line["seconds"]
        found.append(round(total, 2))
    return found


def _mark(arm: ShownArm, colour: str, shapes: list[dict[str, Any]], notes: list[dict[str, Any]], *, row: int) -> None:
    """Mark after which epoch the arm over-fits, and where its phases begin."""
    for phase in arm.first.plan.phases[1:]:
        shapes.append(_line(phase.first - 0.5, colour, "dot"))
    epoch = over_fitting.begins(arm)
    if epoch is not None:
        shapes.append(_line(epoch, colour, "dash"))
        notes.append(
            {
                "x": epoch,
                "y": 1.0,
                "yref": "paper",
                "yanchor": "bottom",
                "yshift": 13 * (row % 3),
                "xanchor": "left",
                "showarrow": False,
                "font": {"color": colour, "size": 11},
                "text": f"{arm.name}: over-fits",
            }
        )


def _line(x: float, colour: str, dash: str) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": colour, "dash": dash, "width": 1},
    }


def _last(arm: ShownArm, metric: str) -> str:
    run = arm.first
    lines = [line for line in run.metrics if (line.get(run.split) or {}).get(metric) is not None]
    if not lines:
        return f"{arm.name} is evaluated once, at the end"
    value = lines[-1][run.split][metric]
    return (
        f"{arm.name} ends at {value:.1%} on {run.split} images" if metric == "accuracy" else f"{arm.name} ends at {value:.3f}"
    )
