"""The command rates: test learning rates before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import (
    ArmOption,
    DataOption,
    DeviceOption,
    JsonOption,
    OfflineOption,
    RecipeArgument,
    RunsOption,
    SetOption,
)
from tlkit.plans.auto_rates import STEPS


def rates(
    recipe: RecipeArgument,
    set_: SetOption = None,
    arm: ArmOption = None,
    each: Annotated[
        bool, typer.Option("--each", help="Also move every group of lr_groups alone, while the others keep still.")
    ] = False,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Training steps of one test.")] = STEPS,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    no_graph: Annotated[
        bool, typer.Option("--no-graph", help="On a GPU, do not capture the training step as a CUDA graph.")
    ] = False,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Test learning rates: train some steps at rising rates, and suggest rates."""
    from tlkit import api
    from tlkit.record import range_tests
    from tlkit.reports import rate_table

    with console.observing() as observer:
        found = api.rates(
            recipe, set_ or (), arm=arm, each=each, steps=steps, runs=runs, data=data, device=device, offline=offline,
            graph=not no_graph, observer=observer,
        )  # fmt: skip
    if as_json:
        console.as_json(range_tests.record(found.tests))
        return
    console.show(rate_table.tests(found.tests))
    console.line(f"curves: {found.folder}/{range_tests.PICTURE}")
