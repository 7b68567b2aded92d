"""The command that says which network to take for images, and what of it to train."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console, options
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
    RunsOption,
    SetOption,
)


def advise(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER|RECIPE", help="Images in one sub-folder per class, or a recipe, a TOML file.")
    ],
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="The time that it may take: 90s, 10m, 1h.")] = "10m",
    backbones: Annotated[
        str | None,
        typer.Option(
            "--backbones",
            metavar="A,B=WEIGHTS",
            help="Networks to consider, whose weights may be downloaded; by default all whose weights are here.",
        ),
    ] = None,
    download: Annotated[
        str | None,
        typer.Option(
            "--download",
            metavar="SIZE",
            help="Weights of other networks that may be downloaded, in all, such as 200MB: the best ones on ImageNet that fit.",
        ),
    ] = None,
    out: Annotated[Path | None, options.out("The recipe to write; by default NAME-advised.toml here.")] = None,
    domain: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="FOLDER2",
            help="Images of the same classes from another domain: whether they help, and which method of [adapt] to try.",
        ),
    ] = None,
    no_try: Annotated[bool, typer.Option("--no-try", help="Probe only: train nothing.")] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Tell transferability scores too: LogME, H-score, NLEEP, GBC, LEEP.")
    ] = False,
    set_: SetOption = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    executor: ExecutorOption = "local",
    address: AddressOption = "",
    cpus_per_run: CpusOption = 1,
    gpus_per_run: GpusOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Measure which network to take for images and what of it to train, and write the recipe."""
    from tlkit import api
    from tlkit.reports import advice_table

    with console.observing() as observer:
        found = api.advise(
            source, set_ or (), budget=budget, backbones=backbones, download=download or 0.0, domain=domain, out=out, tries=not no_try, scores=scores,
            arm=arm, runs=runs, data=data, device=device, offline=offline, executor=executor, address=address, cpus_per_run=cpus_per_run,
            gpus_per_run=gpus_per_run, observer=observer,
        )  # fmt: skip
    if as_json:
        console.as_json(found.record())
        return
    console.show(advice_table.advice(found))
    console.line(f"{found.recipe}: written. Next: tlkit apply {shlex.quote(found.recipe)}")
