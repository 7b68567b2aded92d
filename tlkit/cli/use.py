"""Commands that take something away from finished runs: report, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console, options
from tlkit.cli.options import ArmOption, RunArgument, RunsOption, copy_of


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of runs, or recipes' folders or names: then their runs.",
            callback=lambda paths: [copy_of(path) for path in paths],
        ),
    ],
    runs: RunsOption = Path("runs"),
    out: Annotated[Path, options.out("The page to write.")] = Path("report.html"),
) -> None:
    """Write a page about runs, side by side: results, curves, kernels, what the networks see."""
    from tlkit import api
    from tlkit.record import run_choice

    console.line(f"report: {api.report([run_choice.named(path, runs) for path in paths], out)}")


def export(
    run: RunArgument,
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="onnx, torch-export, safetensors, torchvision or timm.")],
    out: Annotated[
        Path | None, options.out("The file to write; by default exported/RUN/FORM/model with the usual ending.")
    ] = None,
    quantize: Annotated[
        str | None, typer.Option("--quantize", metavar="int8", help="With onnx: 8-bit integers, calibrated on training images.")
    ] = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="With --quantize int8: folder of the run's images.")
    ] = None,
) -> None:
    """Write a run's network as a file that other programs load, with a model card beside it."""
    from tlkit import api
    from tlkit.record import run_choice

    if data is not None and quantize is None:
        raise typer.BadParameter("--data is for the images of --quantize int8; give both, or neither")
    exported = api.export(run_choice.named(run, runs), to, out, quantize=quantize, arm=arm, data=data, note=console.say)
    console.line(f"{to}: {exported.file}")
    console.line(f"model card: {exported.card}")
