"""The command predict: the most probable classes of images or videos, as a table, CSV or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.cli import console, named, predict_boxes, predict_masks, predict_video, predictions_file
from tlkit.cli.options import ArmOption, DeviceOption, JsonOption, RunArgument, RunsOption, ViewsOption
from tlkit.errors import DataError

if TYPE_CHECKING:
    from tlkit.reports.prediction_csv import PredictionCsv
    from tlkit.run.prediction import Predictor

Ranked = list[tuple[str, float]]  # classes with their probabilities, the most probable first


def predict(
    run: RunArgument,
    images: named.ImagesArgument,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Number of classes of each image; by default 1, in JSON all.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="Only classes with at least this probability.")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option("--coverage", help="Sets of classes that hold the right one with this probability: 0.95, for instance."),
    ] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Probabilities after temperature scaling by the run's validation images.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Of masks and boxes: where they are written; by default masks, boxes."
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Of masks: also write the probabilities of every pixel, as float16 .npz.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", min=32, metavar="PIXELS", help="Of masks: larger pictures in tiles of this side, where memory is short."
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the table to a CSV file.")] = None,
    every: Annotated[
        int | None, typer.Option("--every", min=1, help="Of videos: look at the first of every so many frames; by default all.")
    ] = None,
    views: ViewsOption = 1,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print the most probable classes of images or videos. Preprocessing is the run's own."""
    from tlkit import files
    from tlkit.engine.images.views import check
    from tlkit.reports import tables
    from tlkit.run import torch_settings

    _check_options(threshold, coverage, csv, as_json=as_json)
    if views != 1 and (calibrated or coverage is not None):
        raise typer.BadParameter("--calibrated and --coverage are fitted to predictions of one view; leave out --views")
    check(views, where="predict: --views")
    folder, predictor = named.load(run, runs, arm, device)
    task = predictor.network.task
    paths, videos = _inputs(images, predictor, every)
    of_masks = {"--probabilities": probabilities, "--tile": tile is not None}
    if task.targets.whole:
        unused = {"--top": top is not None, "--coverage": coverage is not None, "--calibrated": calibrated}
        unused |= {"--csv": csv is not None, "--views": views != 1}
        _refuse(unused, "is for runs of one class an image; this one gives masks or boxes")
        if task.detections is not None or videos:
            _refuse(of_masks, "is for images, and for runs that give masks")
        if task.detections is not None:
            _boxes(predictor, paths, videos, out=out, threshold=threshold, as_json=as_json)
            return
        place, least = out or Path("masks"), predict_masks.threshold_of(folder, threshold)
        if videos:
            predict_video.predict_masks(predictor, videos, every=every or 1, out=place, threshold=least, as_json=as_json)
        else:
            predict_masks.predict(
                predictor, paths, out=place, threshold=least, probabilities=probabilities, tile=tile, as_json=as_json
            )
        return
    _refuse({"--out": out is not None, **of_masks}, "is for runs that give masks or boxes")
    rule = _rule(folder, top=top, threshold=threshold, coverage=coverage, calibrated=calibrated, whole=as_json)
    rows: list[tuple[str, Ranked | DataError]] = []
    width = len(predictor.classes) if rule.top is None else min(rule.top, len(predictor.classes))
    seen = {} if views == 1 else {"views": views}
    if videos:
        predict_video.predict_classes(
            predictor, videos, every=every or 1, temperature=rule.temperature, views=views, width=width, csv=csv,
            rank=lambda answer: rule.of(task.ranked(answer, predictor.classes)), record={**rule.record(), **seen}, as_json=as_json,
        )  # fmt: skip
        return
    with (
        torch_settings.applied(predictor.device),
        console.counting("predicting") as progress,
        predictions_file.written(csv, width, ("image",)) as file,
    ):
        for path, answer in zip(paths, predictor.answers(paths, temperature=rule.temperature, views=views), strict=True):
            shown = answer if isinstance(answer, DataError) else rule.of(task.ranked(answer, predictor.classes))
            rows.append((files.shown(path), shown))
            if file is not None:
                _add(file, *rows[-1])
            progress(len(rows), len(paths))
    answered = [(image, shown) for image, shown in rows if not isinstance(shown, DataError)]
    failed = [shown for _, shown in rows if isinstance(shown, DataError)]
    if as_json:
        console.as_json({"format": 2, **rule.record(), **seen, "predictions": [_record(*row) for row in rows]})
    elif csv is not None:
        console.line(f"{csv}: written, {len(answered):,} of {len(rows):,} images answered")
    elif answered:
        console.show(tables.predictions(answered))
    console.tell_failed(failed, some_done=bool(answered))


def _boxes(
    predictor: Predictor, paths: list[Path], videos: list[Path], *, out: Path | None, threshold: float | None, as_json: bool
) -> None:
    """Predict the boxes of images; videos are refused."""
    if videos:
        raise DataError(f"predict: {videos[0]} is a video, and the run gives boxes.", "save frames of it as images")
    predict_boxes.predict(predictor, paths, out=out or Path("boxes"), threshold=threshold, as_json=as_json)


def _inputs(images: list[Path], predictor: Predictor, every: int | None) -> tuple[list[Path], list[Path]]:
    """Return the image files and the videos that a command line names; they are of one kind."""
    from tlkit.sources import video_files

    paths = named.image_files(images, bands=predictor.geometry.bands is not None, where="predict")
    pictures, videos = video_files.split(paths, where="predict")
    if pictures:
        _refuse({"--every": every is not None}, "is for videos")
    return pictures, videos


def _refuse(given: Mapping[str, bool], why: str) -> None:
    """Refuse options that the run has no use for."""
    for option, there in given.items():
        if there:
            raise typer.BadParameter(f"{option} {why}")


@dataclass(frozen=True)
class _Rule:
    """Which classes of an image are shown.

    Attributes:
        top: At most so many; None for all.
        least: Only those with at least this probability; None for all.
        temperature: What logits are divided by.
    """

    top: int | None
    least: float | None
    temperature: float

    def of(self, ranked: Ranked) -> Ranked:
        """Return the classes that are shown."""
        return [pair for pair in ranked if self.least is None or pair[1] >= self.least][: self.top]

    def record(self) -> dict[str, float]:
        """Return what the JSON says of it."""
        least = {} if self.least is None else {"threshold": self.least}
        return least | ({} if self.temperature == 1 else {"temperature": self.temperature})


def _rule(
    folder: Path, *, top: int | None, threshold: float | None, coverage: float | None, calibrated: bool, whole: bool
) -> _Rule:
    """Return which classes are shown; what is fitted to the run's validation images is fitted here."""
    from tlkit.record import calibration, conformal, predictions

    heat, least = 1.0, threshold
    if calibrated or coverage is not None:
        known = predictions.validation(folder, where="predict: --calibrated" if calibrated else "predict: --coverage")
        heat = calibration.temperature(known.logits, known.label) if calibrated else 1.0
        if coverage is not None:
            least = conformal.least_probability(
                calibration.softmax(known.logits, temperature=heat), known.label, coverage=coverage
            )
            if not least:
                console.say(
                    f"{folder}: {len(known.label)} validation images are too few for --coverage {coverage:g}: every class is shown"
                )
    return _Rule(top if top is not None or whole or least is not None else 1, least, heat)


def _check_options(threshold: float | None, coverage: float | None, csv: Path | None, *, as_json: bool) -> None:
    if threshold is not None and coverage is not None:
        raise typer.BadParameter("--coverage finds a threshold; give one of --threshold and --coverage")
    if coverage is not None and not 0 < coverage < 1:
        raise typer.BadParameter(f"--coverage: is {coverage:g}; above 0 and below 1, 0.95 for instance")
    if csv is not None and as_json:
        raise typer.BadParameter("give one of --csv FILE and --json")


def _add(file: PredictionCsv, image: str, shown: Ranked | DataError) -> None:
    """Write an image's row of the CSV file."""
    if isinstance(shown, DataError):
        file.add((image,), [], str(shown))
    else:
        file.add((image,), shown)


def _record(image: str, shown: Ranked | DataError) -> dict[str, object]:
    """Return an image's row of the JSON: its probabilities, or why it cannot be read."""
    if isinstance(shown, DataError):
        return {"image": image, "probabilities": {}, "error": str(shown)}
    return {"image": image, "probabilities": dict(shown), "error": None}
