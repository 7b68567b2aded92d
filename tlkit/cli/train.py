"""Commands that begin something: init writes a recipe, apply trains it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import (
    AddressOption,
    ArmOption,
    CpusOption,
    DataOption,
    DeviceOption,
    ExecutorOption,
    GpusOption,
    JsonOption,
    OfflineOption,
    RecipeArgument,
    SetOption,
    folder_of_runs,
)


def init(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Images in one sub-folder per class.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="Write a recipe that comes with tlkit instead.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The recipe to write; by default NAME.toml here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    similar: Annotated[
        bool, typer.Option("--similar", help="The images are like everyday photographs: choose what to train by their number.")
    ] = False,
    dissimilar: Annotated[
        bool,
        typer.Option("--dissimilar", help="They are unlike everyday photographs, as X-rays or drawings are: choose likewise."),
    ] = False,
    splits: Annotated[
        str | None,
        typer.Option(
            "--splits", metavar="TABLE", help='Which folder is which split: \'{ fold_1 = "train", fold_2 = "test" }\'.'
        ),
    ] = None,
) -> None:
    """Write a recipe for a folder of images, or a copy of a shipped one."""
    from tlkit.advice import init_recipe
    from tlkit.advice.strategies import Likeness
    from tlkit.recipe import shipped_recipes

    if (folder is None) == (source is None):
        raise typer.BadParameter("give either a FOLDER of images or --from NAME; tlkit list --kind recipe lists the names")
    if similar and dissimilar:
        raise typer.BadParameter(
            "--similar and --dissimilar exclude each other; give one, or neither for a recipe that compares"
        )
    if source is not None:
        path = shipped_recipes.write(source, output, force=force)
    else:
        assert folder is not None  # as checked above
        likeness: Likeness | None = "similar" if similar else "dissimilar" if dissimilar else None
        path = init_recipe.write(folder, output, force=force, likeness=likeness, splits=splits, notify=console.say)
    console.line(f"{path}: written. Next: tlkit apply {shlex.quote(str(path))}")


def apply(
    recipe: RecipeArgument,
    set_: SetOption = None,
    arm: ArmOption = None,
    runs: Annotated[
        str,
        typer.Option(
            "--runs",
            metavar="DIR|ADDRESS",
            help="Folder of the run folders, or s3://BUCKET/FOLDER.",
            callback=folder_of_runs,
        ),
    ] = "runs",
    data: DataOption = None,
    device: DeviceOption = "auto",
    no_graph: Annotated[
        bool, typer.Option("--no-graph", help="On a GPU, capture no CUDA graph of training or evaluation.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash data and weights again, and check every stored row that is used.")
    ] = False,
    log: Annotated[
        list[str] | None,
        typer.Option("--log", metavar="LOGGER", help="Log metrics while training: tensorboard, mlflow, csv. May be repeated."),
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option("--checkpoint-every", metavar="TIME", help="Save also within an epoch: 90s, 5m, 1h; off for never.")
    ] = "5m",
    executor: ExecutorOption = "local",
    address: AddressOption = "",
    cpus_per_run: CpusOption = 1,
    gpus_per_run: GpusOption = 0.0,
    processes_per_run: Annotated[
        int, typer.Option("--processes-per-run", metavar="N", help="Processes that share a run, its processors and its GPUs.")
    ] = 1,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe: begin it, continue it, or do nothing where it is finished."""
    from tlkit import api
    from tlkit.record import run_folder
    from tlkit.reports import result_table, search_table

    with console.observing() as observer:
        applied = api.apply(
            recipe, set_ or (), arm=arm, runs=runs, data=data, device=device,
            graph=not no_graph, verify=verify, log=log or (), checkpoint_every=checkpoint_every, offline=offline,
            executor=executor, address=address, cpus_per_run=cpus_per_run, gpus_per_run=gpus_per_run,
            processes_per_run=processes_per_run, observer=observer,
        )  # fmt: skip
    if not applied.first:  # of several processes, which says everything
        return
    if as_json:
        console.as_json(applied.result)
    else:
        if not applied.changed:
            console.line(f"{applied.folder}: finished before, nothing to do.")
        if applied.result["arms"]:
            console.show(result_table.result(applied.result))
            if "search" in applied.result:
                console.show(search_table.result(applied.result["search"]))
            console.line(f"curves: {applied.folder}/{run_folder.CURVES}")
            if (applied.folder / run_folder.REPORT).is_file():
                console.line(f"report: {applied.folder}/{run_folder.REPORT}")
    for failure in applied.failures:
        console.say(str(failure))
    if applied.failures:
        raise typer.Exit(applied.failures[0].exit_code)
