"""Commands that ask a finished run about images: predict, evaluate, embed, neighbours."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import ArmOption, DataOption, DeviceOption, JsonOption, OfflineOption, RunArgument, RunsOption
from tlkit.errors import DataError, TlkitError

if TYPE_CHECKING:
    from tlkit.reports.prediction_csv import PredictionCsv
    from tlkit.run.prediction import Predictor

Ranked = list[tuple[str, float]]  # classes with their probabilities, the most probable first
_SOME_FAILED = 3  # the exit code where part of the work failed and the rest is done
_STANDARD_INPUT = Path("-")

ImagesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGES...",
        help="Image files; folders: every image in them and below; quoted patterns, 'new/*.jpg'; - for a list of these on "
        "standard input, one a line.",
    ),
]


def predict(
    run: RunArgument,
    images: ImagesArgument,
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
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the table to a CSV file.")] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print the most probable classes of images. Preprocessing is the run's own."""
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import torch_settings

    _check_options(threshold, coverage, csv, as_json=as_json)
    folder, predictor = _load(run, runs, arm, device)
    rule = _rule(folder, top=top, threshold=threshold, coverage=coverage, calibrated=calibrated, whole=as_json)
    named = _named(images, bands=predictor.geometry.bands is not None)
    rows: list[tuple[str, Ranked | DataError]] = []
    task = predictor.network.task
    width = len(predictor.classes) if rule.top is None else min(rule.top, len(predictor.classes))
    with torch_settings.applied(predictor.device), console.counting("predicting") as progress, _written(csv, width) as file:
        for path, answer in zip(named, predictor.answers(named, temperature=rule.temperature), strict=True):
            shown = answer if isinstance(answer, DataError) else rule.of(task.ranked(answer, predictor.classes))
            rows.append((files.shown(path), shown))
            if file is not None:
                _add(file, *rows[-1])
            progress(len(rows), len(named))
    answered = [(image, shown) for image, shown in rows if not isinstance(shown, DataError)]
    failed = [shown for _, shown in rows if isinstance(shown, DataError)]
    if as_json:
        console.as_json({"format": 2, **rule.record(), "predictions": [_record(*row) for row in rows]})
    elif csv is not None:
        console.line(f"{csv}: written, {len(answered):,} of {len(rows):,} images answered")
    elif answered:
        console.show(tables.predictions(answered))
    for error in failed:
        console.say(str(error))
    if failed:
        raise typer.Exit(_SOME_FAILED if answered else 1)


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

    folder, predictor = _load(run, runs, arm, device)
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
        raise typer.Exit(_SOME_FAILED)


def embed(
    run: Annotated[
        Path, typer.Argument(metavar="RUN|BACKBONE", help="A run's folder, a recipe's folder or name, or a backbone's name.")
    ],
    images: ImagesArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write, x.npz or x.parquet.")],
    at: Annotated[
        str | None, typer.Option("--at", metavar="STAGE", help="Stage whose output is taken; by default the last.")
    ] = None,
    weights: Annotated[str, typer.Option("--weights", metavar="NAME", help="Weights of a backbone.")] = "imagenet",
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Write the embeddings of images: the output of a stage, its mean over the image."""
    import numpy as np
    from numpy.typing import NDArray

    from tlkit import files
    from tlkit.plugin import Backbone, registry
    from tlkit.record import embeddings

    embeddings.check(out)
    if not run.exists() and not (runs / run).exists() and registry.offers(Backbone, str(run)):
        from tlkit.model import backbone_features
        from tlkit.run import executor

        predictor = backbone_features.load(str(run), weights=weights, device=executor.device_of(device), offline=offline)
    else:
        _, predictor = _load(run, runs, arm, device)
    from tlkit.run import torch_settings

    named = _named(images, bands=predictor.geometry.bands is not None)
    rows: dict[int, NDArray[np.float32]] = {}
    failed: list[DataError] = []
    with torch_settings.applied(predictor.device), console.counting("embedding") as progress:
        for place, each in enumerate(predictor.embeddings(named, at=at)):
            if isinstance(each, DataError):
                failed.append(each)
            else:
                rows[place] = each
            progress(place + 1, len(named))
    if rows:
        embeddings.write(out, [files.shown(named[place]) for place in rows], np.stack(list(rows.values())))
        console.line(f"{out}: written, {len(rows):,} of {len(named):,} images, {len(next(iter(rows.values()))):,} features")
    for error in failed:
        console.say(str(error))
    if failed:
        raise typer.Exit(_SOME_FAILED if rows else 1)


def neighbours(
    run: RunArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of training images.")] = 5,
    arm: ArmOption = None,
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show the training images that a run's network finds most like an image."""
    from tlkit.reports import tables
    from tlkit.run import neighbours, torch_settings
    from tlkit.sources.places import Places

    folder, predictor = _load(run, runs, arm, device)
    places = Places(recipe=folder, data=data, offline=True, notify=console.say)
    with torch_settings.applied(predictor.device), console.counting("embedding") as progress:
        found = neighbours.nearest(predictor, folder, image, count=top, places=places, progress=progress)
    if as_json:
        console.as_json({"format": 1, "image": str(image), "neighbours": [asdict(each) for each in found]})
    else:
        console.show(tables.neighbours([(each.image, each.label, each.similarity) for each in found]))


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


def _load(run: Path, runs: Path, arm: str | None, device: str) -> tuple[Path, Predictor]:
    """Return the folder of the run that is meant, and its network."""
    from tlkit.record import run_choice
    from tlkit.run import executor, prediction

    chosen = run_choice.choose(run if run.exists() or not (runs / run).exists() else runs / run, arm)
    if chosen.why:
        console.say(f"{chosen.folder}: {chosen.why}")
    where = executor.device_of(device)
    return chosen.folder, prediction.load(chosen.folder, arm=None, device=where, note=console.say)


def _named(given: Sequence[Path], *, bands: bool) -> list[Path]:
    """Return the files that paths, folders, patterns and a list on standard input name."""
    from tlkit.sources import image_files

    named: list[Path] = []
    for path in given:
        if path == _STANDARD_INPUT:
            lines = [Path(os.fsdecode(line)) for line in sys.stdin.buffer.read().splitlines() if line.strip()]
            named += _named([line for line in lines if line != _STANDARD_INPUT], bands=bands)
        elif path.is_dir():
            named += image_files.below(path, where="predict", notify=console.say, bands=bands)
        elif (
            glob.has_magic(str(path)) and not os.path.lexists(path) and (found := sorted(glob.glob(str(path), recursive=True)))
        ):
            named += _named([Path(each) for each in found], bands=bands)
        else:
            named.append(path)
    return named


@contextlib.contextmanager
def _written(path: Path | None, width: int) -> Iterator[PredictionCsv | None]:
    """Open a CSV file that takes its place when all rows are written; None where none is asked for."""
    from tlkit import files
    from tlkit.reports.prediction_csv import PredictionCsv

    if path is None:
        yield None
        return
    try:
        with files.replacing(path) as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8", newline="", errors="backslashreplace", write_through=True)
            yield PredictionCsv(text, width)
            text.flush()
            text.detach()
    except OSError as error:
        raise TlkitError(f"{path}: cannot be written: {error.strerror or error}.", "another file: --csv FILE") from error


def _add(file: PredictionCsv, image: str, shown: Ranked | DataError) -> None:
    """Write an image's row of the CSV file."""
    if isinstance(shown, DataError):
        file.add(image, [], str(shown))
    else:
        file.add(image, shown)


def _record(image: str, shown: Ranked | DataError) -> dict[str, object]:
    """Return an image's row of the JSON: its probabilities, or why it cannot be read."""
    if isinstance(shown, DataError):
        return {"image": image, "probabilities": {}, "error": str(shown)}
    return {"image": image, "probabilities": dict(shown), "error": None}
