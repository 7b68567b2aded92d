"""Plans as tables: nothing of a stage is cut where a terminal is narrow."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import tlkit
from tlkit.plans.plan import Plan
from tlkit.reports import plan_table


def text(plan: Plan, *, colours: bool = False) -> str:
    shown = io.StringIO()
    Console(file=shown, width=80, force_terminal=colours).print(plan_table.plan(plan))
    return shown.getvalue()


@pytest.mark.parametrize(("name", "tables"), [("block", 1), ("transition", 1), ("features.denseblock", 2)])
def test_names_of_stages_are_whole_at_80_columns(toy_recipe: Path, name: str, tables: int) -> None:
    (plan,) = tlkit.plan(toy_recipe, ["freeze.stem=true"]).values()
    stages = tuple(
        replace(each, name=f"{name}{number}", parameters=12_345_678, output=(32, 149, 149))
        for number, each in enumerate(plan.stages)
    )
    plan = replace(plan, stages=stages)
    lines = [line.split() for line in text(plan).splitlines()]
    assert [line for line in lines if line[:1] == ["stage"]][-1][-1] == "output"
    for each in stages:
        mine = [line for line in lines if line[:1] == [each.name]]
        assert (len(mine), mine[0][1], mine[-1][-1]) == (tables, "12,345,678", "32x149x149")
    assert f"\x1b[2m{name}0" in text(plan, colours=True), "a frozen stage is dim"
