"""Commands that use finished runs: report, predict, export."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import ArmOption, DeviceOption, JsonOption, RunArgument, RunsOption
from tlkit.errors import DataError

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor

Ranked = list[tuple[str, float]]  # classes with their probabilities, the most probable first
_SOME_FAILED = 3  # the exit code where part of the work failed and the rest is done


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or recipes' folders or names: then their runs.")
    ],
    runs: RunsOption = Path("runs"),
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page to write.")] = Path("report.html"),
) -> None:
    """Write a page about runs, side by side: results, curves, kernels, what the networks see."""
    from tlkit import api

    named = [path if path.exists() or not (runs / path).exists() else runs / path for path in paths]
    console.line(f"report: {api.report(named, out)}")


def predict(
    run: RunArgument,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders: then every image in them and below.")
    ],
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    top: Annotated[int, typer.Option("--top", min=1, help="Number of classes shown for each image.")] = 1,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print the most probable classes of images. Preprocessing is the run's own."""
    from tlkit import files
    from tlkit.record import run_choice
    from tlkit.reports import tables
    from tlkit.run import executor, prediction, torch_settings
    from tlkit.sources import image_files

    chosen = run_choice.choose(run if run.exists() or not (runs / run).exists() else runs / run, arm)
    if chosen.why:
        console.say(f"{chosen.folder}: {chosen.why}")
    where = executor.device_of(device)
    predictor = prediction.load(chosen.folder, arm=None, device=where, note=console.say)
    of_bands = predictor.geometry.bands is not None
    below = partial(image_files.below, where="predict", notify=console.say, bands=of_bands)
    named = [file for path in images for file in (below(path) if path.is_dir() else [path])]
    with torch_settings.applied(where):
        answers = list(zip(map(files.shown, named), _ranked(predictor, named), strict=True))
    ranked = [(image, answer) for image, answer in answers if not isinstance(answer, DataError)]
    failed = [answer for _, answer in answers if isinstance(answer, DataError)]
    if as_json:
        console.as_json({"format": 2, "predictions": [_record(image, answer) for image, answer in answers]})
    elif ranked:
        console.show(tables.predictions([(image, row[:top]) for image, row in ranked]))
    for error in failed:
        console.say(str(error))
    if failed:
        raise typer.Exit(_SOME_FAILED if ranked else 1)


def export(
    run: RunArgument,
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="onnx, torch-export, safetensors, torchvision or timm.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The file to write; by default exported/RUN/FORM/model with the usual ending."
        ),
    ] = None,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Write a run's network as a file that other programs load, with a model card beside it."""
    from tlkit import api

    named = run if run.exists() or not (runs / run).exists() else runs / run
    exported = api.export(named, to, out, arm=arm, note=console.say)
    console.line(f"{to}: {exported.file}")
    console.line(f"model card: {exported.card}")


def _record(image: str, answer: Ranked | DataError) -> dict[str, object]:
    """Return an image's row of the JSON: its probabilities, or why it cannot be read."""
    if isinstance(answer, DataError):
        return {"image": image, "probabilities": {}, "error": str(answer)}
    return {"image": image, "probabilities": dict(answer), "error": None}


def _ranked(predictor: Predictor, images: Sequence[Path]) -> list[Ranked | DataError]:
    """Return the classes of each image with their probabilities, or why it cannot be read."""
    task, classes = predictor.network.task, predictor.classes
    answers = predictor.answers(images)
    return [answer if isinstance(answer, DataError) else task.ranked(answer, classes) for answer in answers]
