"""The command predict: options, and which kind of prediction a run and its inputs ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.cli import named, options, predict_boxes, predict_classes, predict_masks, predict_video
from tlkit.cli.options import (
    ArmOption,
    DeviceOption,
    JsonOption,
    MaxPixelsOption,
    RunArgument,
    RunsOption,
    TileOption,
    ViewsOption,
    file_here,
)

if TYPE_CHECKING:
    from tlkit.run.prediction import Predictor
    from tlkit.sources.stacks import Page

TopOption = Annotated[
    int | None, typer.Option("--top", min=1, help="Number of classes of each image; by default 1, in JSON all.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        min=0,
        max=1,
        help="Only classes with at least this probability, boxes with this score, pixels of the second of two classes of masks.",
    ),
]
CoverageOption = Annotated[
    float | None,
    typer.Option("--coverage", help="Sets of classes that hold the right one with this probability: 0.95, for instance."),
]
CalibratedOption = Annotated[
    bool, typer.Option("--calibrated", help="Probabilities after temperature scaling by the run's validation images.")
]
OutOption = Annotated[Path | None, options.out("Of masks and boxes: the folder to write; by default masks, boxes.", "DIR")]
ProbabilitiesOption = Annotated[
    bool, typer.Option("--probabilities", help="Of masks: also write the probabilities of every pixel, as float16 .npz.")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write the table to a CSV file.", callback=file_here)
]
EveryOption = Annotated[
    int | None, typer.Option("--every", min=1, help="Of videos: look at the first of every so many frames; by default all.")
]


def predict(
    run: RunArgument, images: named.ImagesArgument, arm: ArmOption = None, runs: RunsOption = Path("runs"),
    top: TopOption = None, threshold: ThresholdOption = None, coverage: CoverageOption = None,
    calibrated: CalibratedOption = False, out: OutOption = None, probabilities: ProbabilitiesOption = False,
    tile: TileOption = None, csv: CsvOption = None, every: EveryOption = None, views: ViewsOption = 1,
    max_pixels: MaxPixelsOption = None, device: DeviceOption = "auto", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print the most probable classes of images or videos. Preprocessing is the run's own."""
    _check_options(threshold, coverage, csv, calibrated=calibrated, views=views, as_json=as_json)
    folder, predictor = named.load(run, runs, arm, device)
    predictor = predictor.limited(max_pixels)
    pictures, videos = _inputs(images, predictor, every)
    task = predictor.network.task
    of_masks = {"--probabilities": probabilities, "--tile": tile is not None}
    if not task.targets.whole:
        _refuse({"--out": out is not None, **of_masks}, "is for runs that give masks or boxes")
        shown = predict_classes.choose(
            folder, top=top, threshold=threshold, coverage=coverage, calibrated=calibrated, whole=as_json
        )
        if videos:
            predict_video.predict(predictor, videos, every=every or 1, shown=shown, views=views, csv=csv, as_json=as_json)
        else:
            predict_classes.predict(predictor, pictures, shown=shown, views=views, csv=csv, as_json=as_json)
        return
    unused = {"--top": top is not None, "--coverage": coverage is not None, "--calibrated": calibrated}
    unused |= {"--csv": csv is not None, "--views": views != 1}
    _refuse(unused, "is for runs of one class an image; this one gives masks or boxes")
    if task.detections is not None or videos:
        _refuse(of_masks, "is for images, and for runs that give masks")
    if task.detections is not None:
        place = out or Path("boxes")
        if videos:
            predict_boxes.predict_videos(predictor, videos, every=every or 1, out=place, threshold=threshold, as_json=as_json)
        else:
            predict_boxes.predict(predictor, pictures, out=place, threshold=threshold, as_json=as_json)
        return
    place, least = out or Path("masks"), predict_masks.threshold_of(folder, threshold)
    if videos:
        predict_masks.predict_videos(predictor, videos, every=every or 1, out=place, threshold=least, as_json=as_json)
    else:
        predict_masks.predict(
            predictor, pictures, out=place, threshold=least, probabilities=probabilities, tile=tile, as_json=as_json
        )


def _check_options(
    threshold: float | None, coverage: float | None, csv: Path | None, *, calibrated: bool, views: int, as_json: bool
) -> None:
    """Refuse options that contradict each other, and numbers that are none of theirs."""
    from tlkit.engine.images.views import check

    if threshold is not None and coverage is not None:
        raise typer.BadParameter("--coverage finds a threshold; give one of --threshold and --coverage")
    if coverage is not None and not 0 < coverage < 1:
        raise typer.BadParameter(f"--coverage: is {coverage:g}; above 0 and below 1, 0.95 for instance")
    if csv is not None and as_json:
        raise typer.BadParameter("give one of --csv FILE and --json")
    if views != 1 and (calibrated or coverage is not None):
        raise typer.BadParameter("--calibrated and --coverage are fitted to predictions of one view; leave out --views")
    check(views, where="predict: --views")


def _inputs(images: list[Path], predictor: Predictor, every: int | None) -> tuple[Sequence[Path | Page], list[Path]]:
    """Return the image files, stacks page by page, and the videos that a command line names; they are of one kind."""
    from tlkit.sources import stacks, video_files

    paths = named.image_files(images, bands=predictor.geometry.bands is not None, where="predict")
    pictures, videos = video_files.split(paths, where="predict")
    if pictures:
        _refuse({"--every": every is not None}, "is for videos")
    return pictures if predictor.geometry.bands is not None else stacks.opened(pictures), videos


def _refuse(given: Mapping[str, bool], why: str) -> None:
    """Refuse options that the run has no use for."""
    for option, there in given.items():
        if there:
            raise typer.BadParameter(f"{option} {why}")
