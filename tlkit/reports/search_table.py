"""The search of a recipe as rich tables: its space before it runs, and its best trials after. Nothing here prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tlkit import tasks, units
from tlkit.plans.search_plan import SearchPlan, said
from tlkit.recipe import search_space
from tlkit.recipe.messages import shown
from tlkit.record import selection
from tlkit.record.search_record import SearchRecord, TrialRecord
from tlkit.reports import plain_table

SHOWN = 10  # trials in a table
_ENDLESS = 10_000  # columns, more than a table of trials has
_FEW = 20  # finished trials, below which importance is told to be a guess
_SAMPLERS = {"tpe": "TPE", "cmaes": "CMA-ES", "random": "random", "grid": "grid"}


def space(plan: SearchPlan) -> RenderableType:
    """Return what a search will try."""
    table = _table("key", "values", "as written", "only when")
    written = {**search_space.outside(plan.base, plan.parameters, plan.written), **plan.written}
    for each in plan.parameters:
        when = ", ".join(f"{key} = {shown(value)}" for key, value in each.when.items())
        value = shown(written[each.key]) if each.key in written else "other"
        table.add_row(*map(Text, (each.key, said(each), value, when)))
    return Group(Text(f"search     {summary(plan)}", style="bold"), table, "")


def summary(plan: SearchPlan) -> str:
    """Return what a search does, in one sentence."""
    trials = units.counted(plan.most, "trial")
    trials += f", {plan.at_once} at once," if plan.at_once > 1 else ""
    limit = "" if plan.timeout is None else f", none begins after {units.seconds(plan.timeout)}"
    pruner = "no pruner" if plan.pruner == "none" else f"pruner {plan.pruner}"
    return f"{trials} of arm {plan.arm}, seed {plan.seed}, by validation {plan.metric}; sampler {_SAMPLERS[plan.sampler]}, {pruner}{limit}"


def to_record(plan: SearchPlan) -> dict[str, Any]:
    """Return what a search will try, as JSON."""
    space = []
    for each in plan.parameters:
        record: dict[str, Any] = {"key": each.key}
        record[each.kind] = list(each.values) if each.kind == "values" else [each.low, each.high]
        if each.when:
            record["when"] = dict(each.when)
        if each.key in plan.written:
            record["written"] = plan.written[each.key]
        space.append(record)
    return {
        "arm": plan.arm, "seed": plan.seed, "metric": plan.metric, "trials": plan.trials, "timeout": plan.timeout,
        "sampler": plan.sampler, "pruner": plan.pruner, "at_once": plan.at_once, "space": space,
    }  # fmt: skip


def result(record: Mapping[str, Any]) -> RenderableType:
    """Return the best trials of a search for a terminal, and how much each key matters.

    Args:
        record: As search.json and the table "search" of result.json hold it.
    """
    search = SearchRecord.model_validate(record)
    lines = [f"{kind:<10} {text}" for kind, text in outcome(search)]
    return Group(Text(f"search: {title(search)}", style="italic"), _Trials(search), *map(Text, lines))


@dataclass(frozen=True)
class _Trials:
    """The best trials: a column for each key, or where a terminal is too narrow for that, one column for all of them."""

    search: SearchRecord

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        search, keys = self.search, [each.key for each in self.search.space]
        score, rows = f"validation {tasks.metric_label(search.metric)}", search.ranked()[:SHOWN]
        wide = _table("trial", score, *keys, "epochs", "seconds", "status", right=(0, 1))
        narrow = _table("trial", "validation", "status", "values", right=(0, 1, 2))
        for trial in rows:
            number, value, *values, epochs, seconds, status = cells(trial, search, keys)
            wide.add_row(*map(Text, (number, value, *values, epochs, seconds, status)))
            listed = ", ".join(f"{key} = {value}" for key, value in zip(keys, values, strict=True) if value)
            narrow.add_row(*map(Text, (number, value, status, listed)))
        fits = console.measure(wide, options=options.update(width=_ENDLESS)).maximum <= options.max_width
        yield wide if fits else narrow


def title(search: SearchRecord) -> str:
    """Return what the table of trials shows."""
    count, shown_ = len(search.trials), min(SHOWN, len(search.trials))
    which = f"the best {shown_} of {count} trials" if shown_ < count else units.counted(count, "trial")
    return f"{which} of arm {search.arm}, seed {search.seed}, by validation {tasks.metric_label(search.metric)}"


def cells(trial: TrialRecord, search: SearchRecord, keys: list[str]) -> tuple[str, ...]:
    """Return a trial's row: its number, its value, the values of the keys, epochs, seconds and status."""
    number = f"{trial.number}{' (as written)' if trial.number == 0 else ''}{' best' if trial.number == search.best else ''}"
    value = "" if trial.value is None else selection.shown({search.metric: trial.value}, search.metric)
    status = trial.status if trial.same_as is None else f"same as trial {trial.same_as}"
    every = {**trial.outside, **trial.values}
    values = [shown(every[key]) if key in every else "" for key in keys]
    return number, value.rpartition(" ")[2], *values, str(trial.epochs), f"{trial.seconds:.0f}", status


def outcome(search: SearchRecord) -> list[tuple[str, str]]:
    """Return what was found, each with its kind: how much each key matters, the values of the best trial, and which trials failed."""
    lines = []
    if search.importance:
        listed = ", ".join(f"{key} {share:.0%}" for key, share in search.importance.items())
        few = "; of so few trials this is a guess" if search.importance_of < _FEW else ""
        lines.append(("importance", f"{listed} (fANOVA over {search.importance_of} finished trials{few})"))
    if search.best is None:
        lines.append(("best", "no trial is finished"))
    elif search.best == 0:
        lines.append(("best", "the recipe as written"))
    else:
        values = search.trials[search.best].values
        lines.append(("best", f"{search.best_arm}: {', '.join(f'{key} = {shown(value)}' for key, value in values.items())}"))
    failed = [each for each in search.trials if each.status == "failed" and each.same_as is None]
    return lines + [("failed", f"trial {each.number}: {each.error}") for each in failed]


def _table(*names: str, right: tuple[int, ...] = ()) -> Table:
    table = plain_table.of()
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place in right else "left", no_wrap=place in right, overflow="fold")
    return table
