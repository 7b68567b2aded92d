"""The command evaluate: all metrics of a run's network on other labelled images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console, named
from tlkit.cli.options import ArmOption, DataOption, DeviceOption, JsonOption, OfflineOption, RunArgument, RunsOption


def evaluate(
    run: RunArgument,
    on: Annotated[
        str,
        typer.Option("--on", metavar="FOLDER|DATASET", help="Images in one sub-folder per class, or the name of a data set."),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.options.KEY=VALUE", help="An option of the data set.")
    ] = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print all metrics of a run's network on other labelled images."""
    from tlkit.reports import evaluation_tables
    from tlkit.run import evaluation, torch_settings
    from tlkit.sources.places import Places

    folder, predictor = named.load(run, runs, arm, device)
    places = Places(recipe=Path(), data=data, offline=offline, notify=console.say)
    with torch_settings.applied(predictor.device), console.counting("evaluating") as progress:
        found = evaluation.evaluate(predictor, folder, on, set_ or (), places=places, progress=progress, note=console.say)
    if as_json:
        console.as_json({"format": 1, "run": str(folder), **asdict(found)})
    else:
        console.show(
            evaluation_tables.evaluation(
                on, part=found.part, images=found.images, values=found.metrics, per_class=found.details.get("per_class", {})
            )
        )
    for line in found.unreadable:
        console.say(line)
    if found.unreadable:
        raise typer.Exit(named.SOME_FAILED)
