"""The command predict, of a run that gives classes: the most probable classes of images, as a table, CSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlkit.cli import console, predictions_file
from tlkit.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tlkit.reports.prediction_csv import PredictionCsv
    from tlkit.run.prediction import Predictor
    from tlkit.sources.stacks import Page

Ranked = list[tuple[str, float]]  # classes with their probabilities, the most probable first

_ROUNDING = 1e-6  # part of a probability in float32: that of 7 of 10 nearest neighbours is less than 0.7


def predict(
    predictor: Predictor, paths: Sequence[Path | Page], *, shown: Shown, views: int, csv: Path | None, as_json: bool
) -> None:
    """Print the classes of images.

    Args:
        predictor: The run's network.
        paths: The image files.
        shown: Which classes of an image are shown.
        views: Of each image, whose probabilities are averaged.
        csv: The file that gets a row for each image; None for no file.
        as_json: Print JSON.
    """
    from tlkit import files
    from tlkit.reports import tables
    from tlkit.run import torch_settings

    rows: list[tuple[str, Ranked | DataError]] = []
    with (
        torch_settings.applied(predictor.device),
        console.counting("predicting") as progress,
        predictions_file.written(csv, shown.width(predictor), ("image",)) as file,
    ):
        for path, answer in zip(paths, predictor.answers(paths, temperature=shown.temperature, views=views), strict=True):
            rows.append((files.shown(path), answer if isinstance(answer, DataError) else shown.of(predictor, answer)))
            if file is not None:
                _add(file, *rows[-1])
            progress(len(rows), len(paths))
    answered = [(image, classes) for image, classes in rows if not isinstance(classes, DataError)]
    failed = [error for _, error in rows if isinstance(error, DataError)]
    if as_json:
        console.as_json({"format": 2, **shown.record(views), "predictions": [_record(*row) for row in rows]})
    elif csv is not None:
        console.line(f"{csv}: written, {len(answered):,} of {len(rows):,} images answered")
    elif answered:
        console.show(tables.predictions(answered))
    console.tell_failed(failed, some_done=bool(answered))


@dataclass(frozen=True)
class Shown:
    """Which classes of an image are shown.

    Attributes:
        top: At most so many; None for all.
        least: Only those with at least this probability; None for all.
        temperature: What logits are divided by.
    """

    top: int | None
    least: float | None
    temperature: float

    def of(self, predictor: Predictor, probabilities: NDArray[np.float32]) -> Ranked:
        """Return the classes that are shown of an image with these probabilities (classes,)."""
        ranked = predictor.network.task.ranked(probabilities, predictor.classes)
        return [pair for pair in ranked if self.least is None or pair[1] >= self.least * (1 - _ROUNDING)][: self.top]

    def width(self, predictor: Predictor) -> int:
        """Return how many classes a row of a CSV file has room for."""
        return len(predictor.classes) if self.top is None else min(self.top, len(predictor.classes))

    def record(self, views: int) -> dict[str, float]:
        """Return what the JSON says of it, and of the views of an image."""
        least = {} if self.least is None else {"threshold": self.least}
        heat = {} if self.temperature == 1 else {"temperature": self.temperature}
        return least | heat | ({} if views == 1 else {"views": views})


def choose(
    folder: Path, *, top: int | None, threshold: float | None, coverage: float | None, calibrated: bool, whole: bool
) -> Shown:
    """Return which classes are shown; what is fitted to the run's validation images is fitted here.

    Args:
        folder: The run's.
        top: Number of classes; None for one, unless something else bounds them.
        threshold: The least probability that is shown.
        coverage: With which probability the classes that are shown hold the right one.
        calibrated: Divide logits by a temperature.
        whole: Without `top` show every class.
    """
    from tlkit.record import calibration, conformal, predictions

    heat, least = 1.0, threshold
    if calibrated or coverage is not None:
        known = predictions.validation(folder, where="predict: --calibrated" if calibrated else "predict: --coverage")
        heat = calibration.temperature(known.logits, known.label) if calibrated else 1.0
        if calibrated and heat == 1:
            console.say(f"{folder}: all {len(known.label)} validation images are right, which tells no temperature: 1 is taken")
        if coverage is not None:
            least = conformal.least_probability(
                calibration.softmax(known.logits, temperature=heat), known.label, coverage=coverage
            )
            if not least:
                console.say(
                    f"{folder}: {len(known.label)} validation images are too few for --coverage {coverage:g}: every class is shown"
                )
    return Shown(top if top is not None or whole or least is not None else 1, least, heat)


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
