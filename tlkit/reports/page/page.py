"""Write report.html: one file that needs nothing else, readable offline, in light and dark, and on a phone."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tlkit import files, units
from tlkit.errors import RunFolderError, first_few
from tlkit.plans.plan import PhasePlan, Plan
from tlkit.record import run_folder, selection
from tlkit.reports import domain_rows, ensemble_rows, plan_table
from tlkit.reports.page import (
    arm_charts,
    arm_scores,
    arm_table,
    comparison,
    data,
    domains,
    frame,
    kernel_grids,
    over_fitting,
    range_tests,
    runs,
    search,
    seen,
    times,
)
from tlkit.reports.page.charts import Chart
from tlkit.reports.page.runs import ShownArm

_PLAN_WIDTH = 110  # characters


@dataclass(frozen=True)
class Repeat:
    """What is needed to make the runs of an arm again."""

    arm: str
    facts: Sequence[tuple[str, str]]
    recipe: str
    plan: str


def write(path: Path, paths: Sequence[Path], *, title: str = "") -> None:
    """Write the page about runs.

    Args:
        path: Of the page.
        paths: Folders of runs, or of recipes.
        title: Of the page; by default the names of the recipes.

    Raises:
        TlkitError: Plotly or Jinja2 is not installed.
        RunFolderError: a folder is no run's, or none of the runs is finished.
        OSError: the page cannot be written.
    """
    frame.refuse_missing()
    folders = runs.find(paths)
    shown = runs.read(folders)
    if not shown:
        raise RunFolderError(f"{first_few(map(str, paths))}: there is no finished run.", "apply the recipe first")
    arms = runs.by_arm(shown)
    text = render(
        arms,
        title=title,
        left_out=runs.left_out(folders),
        baseline=runs.baseline(arms),
        ensembles=runs.ensembles(arms),
        gained=list(domain_rows.notes(runs.of_recipe(arms))),
    )
    files.replace(path, text)


def render(
    arms: Sequence[ShownArm],
    *,
    title: str = "",
    left_out: Sequence[str] = (),
    baseline: str = "",
    ensembles: Sequence[Mapping[str, Any]] = (),
    gained: Sequence[str] = (),
) -> str:
    """Return the page about arms.

    Args:
        arms: The best by validation first.
        title: Of the page; by default the names of the recipes.
        left_out: Says which runs it does not show.
        baseline: Name of the arm that the others are compared with; "" for none.
        ensembles: As result.json has them.
        gained: What adapting to another domain gained, as `domain_rows` says it.
    """
    names = list(dict.fromkeys(arm.first.result.recipe for arm in arms))
    several = [arm_charts.judged(arms), arm_charts.curves(arms, "loss")]
    learned = [
        *several,
        *_there(arm_charts.deciding(arms), arm_charts.rates(arms), range_tests.chart(arms), arm_charts.tradeoff(arms)),
    ]
    changed = _there(arm_charts.changes(arms))
    sees = [each for each in seen.seen([seen.of(arm) for arm in arms]) if each.has_any]
    shown_data = data.data(arms)
    apart = domains.shown(arms)
    spent = _there(times.by_kind(arms), times.timeline(arms))
    searches = search.of(run.folder for arm in arms for run in arm.runs)
    tried = [chart for each in searches for chart in each.charts]
    every = [
        *learned,
        *tried,
        *changed,
        *(chart for each in sees for chart in each.charts),
        *_there(*(each.chart for each in apart)),
        *spent,
    ]
    of_members = {run.folder.name: run.result.test for arm in arms for run in arm.runs}
    columns, rows, notes = arm_table.table(arms, baseline, ensembles)
    values = {
        "title": title or ", ".join(names),
        "sentence": comparison.sentence(arms, baseline),
        "scores_of": selection.epoch_in_words(
            selection.shared(run.result.select_by for arm in arms for run in arm.runs),
            validated=any(run.result.validation for arm in arms for run in arm.runs),
        ),
        "left_out": left_out,
        "warnings": [*_warnings(arms), *(line for each in shown_data for line in each.warnings)],
        "columns": columns,
        "rows": rows,
        "notes": notes,
        "of_images": any("one run" in cell for cell in (*notes, *(cell for row in rows for cell in row.cells))),
        "ensembles": [
            line.removeprefix("ensemble").strip()
            for each in ensembles
            for line in ensemble_rows.notes(each, arm_scores.judged_by(arms), of_members)
        ],
        "differences": comparison.differences(arms, baseline),
        "targets": sorted({arm.first.target for arm in arms if arm.first.target}),
        "learned": learned,
        "searches": searches,
        "fixed_aux": [
            (arm.name, fixed["loss"], fixed["images"]) for arm in arms if (fixed := arm.first.data.about.get("aux_loss"))
        ],
        "learning": [line for arm in arms if (line := over_fitting.sentence(arm))],
        "kernels": kernel_grids.kernels(arms),
        "changed": changed,
        "sees": sees,
        "domains": apart,
        "gained": [line.partition(" ")[2].strip() for line in gained],
        "data": shown_data,
        "stages": _stages(arms),
        "decided": [(arm.name, _decisions(arm)) for arm in arms],
        "spent": spent,
        "seconds": times.table(arms),
        "repeats": [_repeat(arm) for arm in arms],
    }
    return frame.render("page.html.j2", every, values)


def _there(*found: Chart | None) -> list[Chart]:
    return [chart for chart in found if chart is not None]


def _warnings(arms: Sequence[ShownArm]) -> list[str]:
    """Return what a person should know of the results, each said once with the arms that it is of."""
    found: dict[str, list[str]] = {}
    for arm in arms:
        for line in dict.fromkeys(line for run in arm.runs for line in (*run.plan.warnings, *run.result.warnings)):
            found.setdefault(line, []).append(arm.name)
    return [line if len(names) == len(arms) else f"{', '.join(names)}: {line}" for line, names in found.items()]


def _stages(arms: Sequence[ShownArm]) -> list[tuple[str, ...]]:
    """Return a row for each stage of each arm: arm, stage, parameters, trains, peak rate, output."""
    return [
        (
            arm.name,
            stage.name,
            f"{stage.parameters:,}",
            stage.trains,
            ", ".join(map(plan_table.rate_text, stage.peak_lr)),
            " x ".join(map(str, stage.output)),
        )
        for arm in arms
        for stage in arm.first.plan.stages
    ]


def _epochs(plan: Plan, phase: PhasePlan) -> str:
    """Return the epochs of a phase, with the size of their images where there are several sizes."""
    size = f", images of {units.pixels(phase.image_size or plan.image_size)}" if plan.sizes else ""
    return f"epochs {phase.first} to {phase.last}{size}"


def _decisions(arm: ShownArm) -> list[tuple[str, str, str]]:
    """Return what the plan decided: what, its value, and the reason."""
    plan = arm.first.plan
    rows = [(_epochs(plan, phase), _prefix(phase.prefix), phase.reason) for phase in plan.phases]
    for phase in plan.phases:
        fixed = phase.fixed
        if fixed is None:
            continue
        for what, stored, why in (
            ("training images", fixed.train, fixed.reason),
            ("validation and test images", fixed.evaluation, fixed.evaluation_reason),
        ):
            value = "computed every epoch" if stored is None else f"output of {stored.stages} stages stored"
            rows.append(
                (f"epochs {phase.first} to {phase.last}: fixed prefix, {what}", value, why if stored is None else stored.reason)
            )
    rows += [(choice.what, choice.value, choice.reason) for choice in plan.choices]
    rows.append(("memory", f"about {plan.memory.total / 2**20:,.0f} MiB while training", "estimated"))
    return rows


def _prefix(stages: Sequence[str]) -> str:
    return f"fixed: {', '.join(stages)}" if stages else "nothing is fixed"


def _repeat(arm: ShownArm) -> Repeat:
    run = arm.first
    resolved: Mapping[str, Any] = run_folder.resolved(run.folder)
    seeds = ", ".join(sorted({str(each.result.seed) for each in arm.runs}, key=int))
    machine = resolved.get("machine", {})
    facts = [
        ("command", _command(run.folder, seeds)),
        ("seeds", seeds),
        ("digest", run.result.digest),
        (
            "same bits again",
            "yes, on this machine with as many threads" if run.result.exact else f"no: {run.result.why_inexact}",
        ),
        ("machine", _words(machine)),
        ("versions", _words(run.result.versions)),
        *((f"content of {name}", digest) for name, digest in run_folder.inputs(run.folder).items()),
    ]
    console = Console(file=io.StringIO(), width=_PLAN_WIDTH, force_jupyter=False, record=True)
    console.print(plan_table.plan(run.plan))
    return Repeat(arm.name, facts, run.text(run_folder.RECIPE), console.export_text())


def _command(folder: Path, seeds: str) -> str:
    """Return the command that trains an arm again; in another folder of runs, since a recipe's own holds the runs of its file."""
    return f"tlkit apply {shlex.quote(str(folder / run_folder.RECIPE))} --set 'seeds=[{seeds}]' --runs repeated"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value)
