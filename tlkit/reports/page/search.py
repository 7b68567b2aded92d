"""The search of a recipe in a report: its best trials, how much each key matters, and every trial across all keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit import tasks
from tlkit.recipe.messages import shown
from tlkit.recipe.search import same
from tlkit.record import results, selection
from tlkit.record.search_record import SearchRecord, SpaceRecord, TrialRecord
from tlkit.reports import search_table
from tlkit.reports.page.charts import COLOURS, Chart, escaped, rounded

_BEST, _OTHER = COLOURS[1], COLOURS[0]
_MOST = 200  # trials in the picture, the best ones
_SPREAD = 0.05  # of an axis, over which lines through one listed value are spread, so that each is seen
_NONE = -0.3  # where a line passes the axis of a key that its trial does not have
_PALEST = 0.25  # opacity of the worst trial
_BAR = 34  # pixels


@dataclass(frozen=True)
class ShownSearch:
    """What a report says of a search.

    Attributes:
        title: Of the table.
        columns: Its columns.
        rows: Its rows, the best trial first.
        lines: What was found, in words.
        charts: The importance of keys where it is known, and the trials across all keys.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[str]
    charts: Sequence[Chart]


def of(folders: Iterable[Path]) -> list[ShownSearch]:
    """Return the searches of recipes, of which a run is shown that is one of their trials."""
    listed = list(folders)
    found = []
    for number, parent in enumerate(dict.fromkeys(folder.parent for folder in listed)):
        record = (results.read(parent) or {}).get("search")
        if record is None:
            continue
        search = SearchRecord.model_validate(record)
        if {each.folder for each in search.trials} & {folder.name for folder in listed if folder.parent == parent}:
            found.append(_shown(search, number))
    return found


def _shown(search: SearchRecord, number: int) -> ShownSearch:
    keys = [each.key for each in search.space]
    drawn = [importance(search, number), parallel(search, number)]
    return ShownSearch(
        search_table.title(search),
        ["trial", f"validation {tasks.metric_label(search.metric)}", *keys, "epochs", "seconds", "status"],
        [search_table.cells(each, search, keys) for each in search.ranked()[: search_table.SHOWN]],
        [f"{kind}: {text}" for kind, text in search_table.outcome(search)],
        [chart for chart in drawn if chart is not None],
    )


def importance(search: SearchRecord, number: int) -> Chart | None:
    """Draw the share of each key in what makes trials differ; None where it is not known."""
    if not search.importance:
        return None
    ranked = sorted(search.importance.items(), key=lambda item: item[1])
    data = [
        {
            "y": [key for key, _ in ranked],
            "x": [rounded(share) for _, share in ranked],
            "type": "bar",
            "orientation": "h",
            "marker": {"color": _OTHER},
            "hovertemplate": "%{y}: %{x:.0%}<extra></extra>",
        }
    ]
    layout = {
        "xaxis": {
            "title": {"text": "share of the variance (fANOVA)"},
            "tickformat": ".0%",
            "rangemode": "tozero",
        },
        "yaxis": {"automargin": True, "type": "category"},
        "showlegend": False,
    }
    alt = f"Bars: {', '.join(f'{key} {share:.0%}' for key, share in reversed(ranked))}."
    return Chart(f"importance-{number}", "Importance of keys", alt, data, layout, height=110 + _BAR * len(ranked))


def parallel(search: SearchRecord, number: int) -> Chart | None:
    """Draw each trial as a line across an axis for every key and one for the metric."""
    trials = [each for each in search.ranked() if each.value is not None and each.same_as is None][:_MOST]
    if len(trials) < 2:
        return None
    label = f"validation {tasks.metric_label(search.metric)}"
    values = [each.value for each in trials if each.value is not None]
    low, high = min(values), max(values)
    data = [_line(trial, search, rank / (len(trials) - 1), (low, high)) for rank, trial in enumerate(reversed(trials))]
    ends = [_ends(each) for each in search.space]
    for marks, each in zip(ends, search.space, strict=True):
        if any(each.key not in trial.values for trial in trials):
            marks.append((_NONE, "not set"))
    ends.append([(0.0, _score(search, low)), (1.0, _score(search, high))] if high > low else [(0.5, _score(search, low))])
    notes = [_mark(axis, y, text) for axis, marks in enumerate(ends) for y, text in marks]
    names = [each.key for each in search.space]
    layout = {
        "xaxis": {
            "tickvals": list(range(len(ends))), "ticktext": [*names, label], "range": [-0.15, len(ends) - 0.55], "zeroline": False,
            "showgrid": True,
        },
        "yaxis": {"visible": False, "range": [_NONE - 0.1, 1.1]},
        "annotations": notes,
        "showlegend": False,
        "hovermode": "closest",
    }  # fmt: skip
    best = next((each for each in trials if each.number == search.best), trials[0])
    alt = (
        f"Parallel coordinates of {len(trials)} trials over {', '.join(names)} and {label}. The best, trial {best.number}, has "
        f"{', '.join(f'{key} {shown(value)}' for key, value in best.values.items())}."
    )
    return Chart(f"trials-{number}", "Trials across all keys", alt, data, layout, height=420)


def _line(trial: TrialRecord, search: SearchRecord, rank: float, range_: tuple[float, float]) -> dict[str, Any]:
    """A trial as a line, the paler the worse it is: its rank is 0 for the worst and 1 for the best."""
    low, high = range_
    value = trial.value or 0.0
    heights = [_height(each, trial) for each in search.space]
    heights.append((value - low) / (high - low) if high > low else 0.5)
    best = trial.number == search.best
    words = [f"trial {trial.number}: {_score(search, value)}{' (pruned)' if trial.status == 'pruned' else ''}"]
    words += [f"{key} = {shown(each)}" for key, each in trial.values.items()]
    return {
        "x": list(range(len(heights))),
        "y": [rounded(each) for each in heights],
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"trial {trial.number}",
        "opacity": 1.0 if best else rounded(_PALEST + (1 - _PALEST) * 0.8 * rank),
        "line": {
            "color": _BEST if best else _OTHER,
            "width": 3 if best else 1.5,
            "dash": "dot" if trial.status == "pruned" else "solid",
        },
        "marker": {"size": 7 if best else 5},
        "hovertemplate": f"{'<br>'.join(map(escaped, words))}<extra></extra>",
    }


def _mark(axis: int, y: float, text: str) -> dict[str, Any]:
    """A value beside an axis: above its upper end, below its lower one, and to the right of what is between."""
    beside = {"xanchor": "left", "xshift": 8} if 0 < y < 1 else {"yshift": 16 if y >= 1 else -16}
    return {"x": axis, "y": y, "text": text, "showarrow": False, "font": {"size": 11}, **beside}


def _height(each: SpaceRecord, trial: TrialRecord) -> float:
    """Return where a trial crosses the axis of a key, 0 to 1, or below it where it does not have the key."""
    spread = ((trial.number * 0.618) % 1 - 0.5) * _SPREAD  # the golden ratio: successive numbers lie far apart
    if each.key not in trial.values:
        return _NONE + spread
    value = trial.values[each.key]
    if each.kind == "values":
        return _slot(next(place for place, known in enumerate(each.values) if same(known, value)), len(each.values)) + spread
    low, high = _scaled(each, each.low), _scaled(each, each.high)
    return (_scaled(each, value) - low) / (high - low)


def _scaled(each: SpaceRecord, value: float | None) -> float:
    number = float(value or 0)
    return math.log(number) if each.kind == "log" else number


def _slot(place: int, count: int) -> float:
    return place / (count - 1) if count > 1 else 0.5


def _ends(each: SpaceRecord) -> list[tuple[float, str]]:
    """Return the marks of an axis: both ends of a range, every value of a list."""
    if each.kind == "values":
        return [(_slot(place, len(each.values)), escaped(shown(value))) for place, value in enumerate(each.values)]
    return [(0.0, f"{each.low:g}"), (1.0, f"{each.high:g}")]


def _score(search: SearchRecord, value: float) -> str:
    return selection.shown({search.metric: value}, search.metric)
