"""Lists of runs, and the differences of two runs, as rich tables. Nothing here prints."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from tlkit import tasks, units
from tlkit.record import run_folder, selection
from tlkit.record.run_differences import RunDifferences, StageChange, Values
from tlkit.record.run_list import ListedRun
from tlkit.reports import plain_table
from tlkit.reports.tables_that_fit import Rows

_FOLDER, _DIFFERS = "folder", "differs in"  # columns that not every list has
_DIGEST = 64  # characters of a sha256, of which a table shows the first 8


def runs(folder: Path, listed: Sequence[ListedRun]) -> RenderableType:
    """Return every run with its recipe, arm, seed, status, scores, age and size, and the keys in which runs of an arm differ.

    Where the runs lie in several folders, a column has the folder of each; what cannot be read is told below the table. On a narrow
    terminal the last columns stand in a table below.
    """
    named = [_named(run) for run in listed]
    several, recipes = (len({each[place] for each in named}) > 1 for place in (0, 1))
    rows = [
        _cells(run, _below(folder, place), f"{recipe}: {label}" if recipes else label)
        for run, (place, recipe, label) in zip(listed, named, strict=True)
    ]
    shown = ["run", "status", "test", "validation", "age", "size"]
    shown += [name for name, wanted in ((_FOLDER, several), (_DIFFERS, True)) if wanted and any(row[name] for row in rows)]
    table = Rows(rows, shown, ["run", "status", _FOLDER, _DIFFERS], {}, later=([_DIFFERS], [_FOLDER]))
    title = Text(next((recipe for _, recipe, _ in named), ""), style="italic")
    superseded = [run for run in listed if run.superseded]
    total = f"{folder}: {len(listed)} run{'' if len(listed) == 1 else 's'}, {units.size(sum(run.bytes for run in listed))}"
    if superseded:
        total += f", of which {len(superseded)} superseded, {units.size(sum(run.bytes for run in superseded))}"
    damages = [Text(run.error, style="yellow") for run in listed if run.error]
    return Group(
        *([] if recipes or not listed else [title]), *([table] if listed else []), *damages, Text(total + ".", style="bold")
    )


def _cells(run: ListedRun, folder: str, label: str) -> dict[str, str]:
    """Return the cells of a run by column."""
    result = run.result
    heard = "" if run.heard is None else f"last heard {_ago(run.heard)}"
    words = [result.status if result else "", heard, "damaged" if run.error else "", "superseded" if run.superseded else ""]
    return {
        "run": label,
        "status": ", ".join(filter(None, words)),
        "test": _score(result.test if result else None),
        "validation": _score(result.validation if result else None),
        "age": _age(time.time() - run.written),
        "size": units.size(run.bytes),
        _FOLDER: folder,
        _DIFFERS: ", ".join(f"{key} = {value(found)}" for key, found in _telling(run.differs)),
    }


def _telling(differs: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the keys in which a run differs, without those that it lacks because another `name` or `kind` of their table has none."""
    named = {table for key in differs for table, _, last in [key.rpartition(".")] if last in ("name", "kind")}
    return ((key, each) for key, each in differs.items() if each is not None or key.rpartition(".")[0] not in named)


def differences(found: RunDifferences) -> RenderableType:
    """Return in what two runs differ: recipe, plan, result, and weights stage by stage."""
    first, second = (folder.name for folder in found.folders)
    if first == second:  # the same run in two folders of runs
        first, second = map(str, found.folders)
    parts: list[RenderableType] = [
        *_section("recipe", found.recipe, first, second, same="The recipes say the same, of the same data and weights."),
        *_section("plan", found.plan, first, second, same="The plans are the same beside the recipe."),
        *_section("result", found.result, first, second, same="Neither run has a result."),
    ]
    if found.note:
        return Group(*parts, Text(f"weights: {found.note}."))
    table = plain_table.of("weights", "change", "parameters", "in one run alone", gap=3)
    for stage in found.weights:
        table.add_row(stage.stage, change(stage), f"{stage.parameters:,}", Text(", ".join(stage.only_one)))
    return Group(*parts, table, Text("change: |second - first| / |first|, Euclidean over a stage's parameters.", style="dim"))


def change(stage: StageChange) -> str:
    """Return the relative change of a stage as text."""
    if stage.change is None:
        return "not comparable"
    return "none" if stage.change == 0 else f"{stage.change:.2%}"


def value(given: object) -> str:
    """Return a key's value as a recipe writes it, a text without quotes and a digest shortened."""
    if given is None:
        return "not there"
    if isinstance(given, float):
        return f"{given:.6g}"
    text = given if isinstance(given, str) else json.dumps(given, default=str, ensure_ascii=False)
    return text[:8] if len(text) == _DIGEST and set(text) <= set("0123456789abcdef") else text


def _section(title: str, found: Mapping[str, Values], first: str, second: str, *, same: str) -> Iterable[RenderableType]:
    if not found:
        return [Text(f"{title}: {same}"), Text()]
    table = plain_table.of(title, first, second, gap=3)
    for column in table.columns:  # the end of a key or a number would be cut
        column.overflow = "fold"
    for key, (before, after) in found.items():
        table.add_row(Text(key), Text(value(before)), Text(value(after), style="" if before == after else "bold"))
    return [table, Text()]


def _score(metrics: Mapping[str, float] | None) -> str:
    """The metric that the run's task is judged by, with its name where that is not accuracy."""
    by = tasks.headline(metrics or {})
    return selection.shown(metrics, by) if metrics and (by != selection.USUAL or by in metrics) else ""


def _named(run: ListedRun) -> tuple[Path, str, str]:
    """Return the folder of a run's recipe, the recipe, and the run in words: with its folder's name where that is of the user's choice."""
    result, folder = run.result, run.folder
    if result is None:
        return folder.parent.parent, folder.parent.name, folder.name
    label = run_folder.label(result.arm, result.seed, result.fold)
    if folder.name == run_folder.name_of(result.arm, result.seed, result.fold, digest=result.digest):
        return folder.parent.parent, folder.parent.name, label
    return folder.parent, result.recipe, f"{folder.name} ({label})"


def _below(folder: Path, place: Path) -> str:
    """Return a folder of runs as it is called from the one that was listed; a recipe's folder that was listed lies in its parent."""
    return str(place.relative_to(folder)) if place.is_relative_to(folder) else str(place)


def _ago(then: float) -> str:
    age = _age(time.time() - then)
    return age if age == "now" else f"{age} ago"


def _age(seconds: float) -> str:
    for length, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {name}"
    return "now"
