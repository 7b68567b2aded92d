"""The command evaluate: all metrics of a run's network on other labelled images."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit import files
from tlkit.cli import console, named, options, predict_masks
from tlkit.cli.options import (
    ArmOption,
    DataOption,
    DeviceOption,
    JsonOption,
    MaxPixelsOption,
    OfflineOption,
    RunArgument,
    RunsOption,
    TileOption,
    ViewsOption,
)
from tlkit.errors import SOME_FAILED, option, writable

if TYPE_CHECKING:
    from tlkit.run.evaluation import Evaluation
    from tlkit.run.prediction import Predictor


def evaluate(
    run: RunArgument,
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="FOLDER|DATASET",
            help="A folder as the run's data set has it, or images in one sub-folder per class; or the name of a data set.",
        ),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.options.KEY=VALUE", help="An option of the data set.")
    ] = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    views: ViewsOption = 1,
    tile: TileOption = None,
    max_pixels: MaxPixelsOption = None,
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
    report: Annotated[
        bool, typer.Option("--report", help="Also write a page: confusion, classes, what is most wrong, calibration.")
    ] = False,
    out: Annotated[Path | None, options.out("With --report: the page to write; by default evaluation.html.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print all metrics of a run's network on other labelled images."""
    from tlkit.engine.images.views import check
    from tlkit.reports import evaluation_tables
    from tlkit.run import evaluation, torch_settings
    from tlkit.sources.places import Places

    check(views, where="evaluate: --views")
    page = _page(out, wanted=report)
    said: list[str] = []

    def note(line: str) -> None:
        said.append(line)
        console.say(line)

    folder, predictor = named.load(run, runs, arm, device)
    predictor = predictor.limited(max_pixels)
    places = Places(recipe=Path(), data=data, offline=offline, notify=console.say, settings=False)
    with torch_settings.applied(predictor.device), console.counting("evaluating") as progress:
        found = evaluation.evaluate(
            predictor, folder, on, set_ or (), views=views, tile=tile, places=places, progress=progress, note=note
        )
        if page is not None:
            command = ["tlkit", "evaluate", str(folder), "--on", on, *(f"--set={each}" for each in set_ or ())]
            command += [] if data is None else ["--data", str(data)]
            command += [] if views == 1 else ["--views", str(views)]
            command += [] if tile is None else ["--tile", str(tile)]
            command += [] if max_pixels is None else ["--max-pixels", str(max_pixels)]
            command += ["--report"] if out is None else ["--report", "--out", str(out)]
            _write(page, found, predictor, folder, on=on, said=said, command=shlex.join(command))
    if as_json:
        written = {} if page is None else {"report": str(page)}
        console.as_json({"format": 1, "run": str(folder), **found.record(), **written})
    else:
        console.show(
            evaluation_tables.evaluation(
                on, part=found.part, images=found.images, values=found.metrics, per_class=found.details.get("per_class", {})
            )
        )
        if told := _threshold(predictor, folder, found.metrics):
            console.line(told)
        if found.tile is not None:
            console.line(f"larger pictures in tiles of {found.tile} x {found.tile} pixels")
        if found.groups:
            console.line(evaluation_tables.groups(found.groups))
        if (gain := found.gain) is not None:
            console.line(evaluation_tables.gain(views, gain.accuracy_of_one, gain.accuracy, gain.p))
        if page is not None:
            console.line(f"report: {page}")
    for line in found.unreadable:
        console.say(line)
    if found.unreadable:
        raise typer.Exit(SOME_FAILED)


def _threshold(predictor: Predictor, folder: Path, metrics: Mapping[str, float]) -> str:
    """Return the threshold of the metrics of masks of two classes, and the one of `predict`; "" of others."""
    told = predictor.network.task.note(metrics)
    chosen = predict_masks.threshold_of(folder, None) if told else None
    return told if chosen is None else f"{told}; predict takes {chosen:.3g}, the best for the run's validation images"


def _page(out: Path | None, *, wanted: bool) -> Path | None:
    """Return the file of the page; None where none is asked for."""
    from tlkit.reports.page import frame

    if not wanted:
        if out is not None:
            raise typer.BadParameter("--out is for the page of --report; give both, or neither")
        return None
    frame.refuse_missing()
    page = out or Path("evaluation.html")
    files.refuse_file(page, "out")
    return page


def _write(
    path: Path, found: Evaluation, predictor: Predictor, run: Path, *, on: str, said: Sequence[str], command: str
) -> None:
    """Write the page of an evaluation."""
    from tlkit.reports.page import evaluation as page
    from tlkit.reports.page.seen import Evaluated
    from tlkit.run import evaluation

    data, calibrated = evaluation.explained(found, predictor), evaluation.calibrated(found, run)
    chosen = predict_masks.threshold_of(run, None)
    threshold = {} if chosen is None else {"threshold": {"probability": chosen}}
    answers = Evaluated(run.name, found.part, {**found.details, **threshold}, calibrated, data)
    shown = page.ShownEvaluation(
        str(run), on, found.images, found.metrics, answers, warnings=[*said, *found.unreadable], command=command,
        select_by=predictor.network.task.select_by,
    )  # fmt: skip
    with writable(path, f"another file: {option('out', 'FILE')}"):
        page.write(path, shown)
