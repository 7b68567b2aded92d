"""Commands about speed: the history of the benchmarks, and the kernels of a network's convolutions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import JsonOption
from tlkit.errors import TlkitError, nearest
from tlkit.units import Size

bench_verbs = typer.Typer(help="Show the history of the benchmarks, or time a network's convolutions.", rich_markup_mode=None)
_SHOWN = 30  # rows of a census, unless all are asked for


class Precision(StrEnum):
    """Values of --precision."""

    bfloat16 = "bfloat16"
    float32 = "float32"


class Layout(StrEnum):
    """Values of --layout."""

    channels_last = "channels_last"
    contiguous = "contiguous"


@bench_verbs.callback(invoke_without_command=True)
def history(
    context: typer.Context,
    baselines: Annotated[
        Path, typer.Option("--baselines", metavar="DIR", help="Where make bench-track keeps the history.")
    ] = Path("benchmarks/baselines"),
    machine: Annotated[str | None, typer.Option("--machine", metavar="NAME", help="Only this kind of machine.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the history of the benchmarks, and draw their trends."""
    if context.invoked_subcommand is not None:
        return
    from tlkit.record import benchmarks as benches
    from tlkit.reports import trend

    machines = benches.machines(baselines)
    if not machines:
        raise TlkitError(f"{baselines}: holds no history.", "make bench-track writes one; --baselines names another folder")
    if machine is not None and machine not in machines:
        raise TlkitError(
            f"{baselines / machine}: holds no history.", f"machines: {', '.join(machines)}", nearest(machine, machines)
        )
    shown = {name: benches.history(baselines / name) for name in machines if machine in (None, name)}
    if as_json:
        lists = {name: [record.model_dump(mode="json") for record in records] for name, records in shown.items()}
        console.as_json({"format": 1, "machines": lists})
        return
    for name, records in shown.items():
        picture = baselines / name / "trend.svg"
        console.show(trend.table(name, records))
        if records:
            trend.write(picture, name, records)
            console.line(f"trend: {picture}\n")


@bench_verbs.command("kernels")
def kernels(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="A backbone, as `tlkit list` shows it.")],
    image_size: Annotated[
        str | None,
        typer.Option("--image-size", metavar="PIXELS", help="Height and width: 224 or 224x160; by default the backbone's own."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Images of a step.")] = 8,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Threads of torch; by default as many as it takes.")
    ] = None,
    precision: Annotated[Precision, typer.Option("--precision", help="Precision of the step.")] = Precision.bfloat16,
    layout: Annotated[Layout, typer.Option("--layout", help="Memory format of the step.")] = Layout.channels_last,
    everything: Annotated[bool, typer.Option("--all", help="Show every convolution, not only the slowest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Time every distinct convolution of a network on the CPU: forward, gradient of the input, gradient of the weight."""
    size = None if image_size is None else _size(image_size)
    from tlkit.plugin import Backbone, Head, registry

    backbone, head = registry.get(Backbone, network), registry.get(Head, "linear")
    from tlkit.compiler.census import census
    from tlkit.record.formats import ComputeFormat
    from tlkit.reports import kernel_table

    form = ComputeFormat(precision.value, layout.value)
    with console.counting(f"{network}: convolutions") as report:
        found = census(
            network, backbone, head, image_size=size, images=batch_size, compute_format=form, threads=threads, report=report
        )
    if as_json:
        console.as_json(found.to_json())
        return
    console.show(kernel_table.census(found, rows=len(found.rows) if everything else _SHOWN))


def _size(text: str) -> Size:
    """Read "224" or "224x160": height and width in pixels."""
    height, _, width = text.partition("x")
    if not height.isdecimal() or (width or height).isdecimal() is False or int(height) * int(width or height) == 0:
        raise typer.BadParameter(f'"{text}" is no size in pixels, as 224 or 224x160', param_hint="--image-size")
    return int(height), int(width or height)
