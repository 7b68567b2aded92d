"""Bring a run's ONNX graph to 8-bit integers, and measure what that costs.

The rule: the preprocessing stays as it is; convolutions and linear layers are quantised, each channel of a weight by itself, and the
ranges of their inputs are those that training images have.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.estimators import FittedHead
from tlkit.errors import TlkitError
from tlkit.exports import graph, run_pictures
from tlkit.exports.finished_run import FinishedRun
from tlkit.record import statistics
from tlkit.tasks import Predictions, Task
from tlkit.tasks.task import logarithms

_CALIBRATION = 128  # training images; onnxruntime's own examples take about a hundred
_VALIDATION = 1_000  # images of which both accuracies are told
_LEAST = 0.99  # of the accuracy
_BY_CHANCE = 0.05
_OPERATIONS = ["Conv", "Gemm", "MatMul"]


def quantized(model: Any, run: FinishedRun, data: Path | None = None) -> tuple[bytes, str]:
    """Return a quantised ONNX file, and how good both are on validation images, in words.

    Args:
        model: An onnx.ModelProto of the run.
        run: Its data set must be on this machine.
        data: Folder of the images; None where the recipe, or the cache, has it.

    Raises:
        TlkitError: its head is solved, or its images are not here.
    """
    from onnxruntime import quantization

    if isinstance(run.predictor.network.head, FittedHead):
        raise TlkitError(
            f"{run.folder}: the {run.arm.head.kind} head is computed in float64 and is not quantised.", "leave --quantize out"
        )
    float32 = model.SerializeToString()  # before onnxruntime moves its weights to a file
    batches = ({graph.INPUT: picture[None]} for picture, _ in run_pictures.pictures(run, "train", _CALIBRATION, data=data))
    with tempfile.TemporaryDirectory() as folder, _without_advice():
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model, path, _reader(batches), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=_OPERATIONS,
        )  # fmt: skip
        content = path.read_bytes()
    return content, _compared(_answers((float32, content), run, data), run.predictor.network.task)


def comparison(before: Tensor, after: Tensor, targets: Tensor, task: Task) -> str:
    """Return the accuracies of both files in words, and that int8 ruins the network where it does.

    It does where less than 99 % of the accuracy is left, which is MLPerf's limit, and not by chance: McNemar's exact test where an image
    has one class.

    Args:
        before: (N, classes) probabilities as float32.
        after: (N, classes) probabilities as int8.
        targets: (N, ...) as the task understands them.
        task: The run's.

    Source: MLPerf Inference rules, "closed division": quality of at least 99 % of the reference.
    """
    # the logit is on the same side of 0 as the probability is of 1/2, and orders the classes as it does
    logits = [torch.logit(each.double(), eps=1e-9) for each in (before, after)]
    parts = [float(correct) / float(total) for correct, total in (task.correct(each, targets) for each in logits)]
    text = f"accuracy on {len(targets):,} validation images: {parts[1]:.1%} as int8, {parts[0]:.1%} as float32"
    if parts[1] >= _LEAST * parts[0]:
        return text
    chance = ""
    if task.shown is not None and task.shown.one_class:
        found = statistics.mcnemar(*((each.argmax(1) == targets).numpy() for each in logits))
        if found.p >= _BY_CHANCE:
            return text
        chance = f", more than chance explains (exact McNemar p = {found.p:.2g})"
    return f"{text}. int8 ruins this network: it loses {(parts[0] - parts[1]) * 100:.1f} points{chance}; leave --quantize out"


def comparison_of_rows(before: Tensor, after: Tensor, task: Task) -> str:
    """Return what a task is selected by, of both files in words, and that int8 ruins the network where less than 99 % of it is left.

    Args:
        before: (N, length) what the task keeps of each image, as float32.
        after: The same as int8.
        task: With a `Reduction`.
    """
    assert task.reduction is not None
    values = [
        task.scores(Predictions(rows, rows.new_zeros(len(rows), 1), task))[task.select_by] or 0.0 for rows in (before, after)
    ]
    measure = task.metrics[task.select_by].label
    text = f"{measure} on {len(before):,} validation images: {values[1]:.3f} as int8, {values[0]:.3f} as float32"
    if values[1] >= _LEAST * values[0]:
        return text
    return f"{text}. int8 ruins this network: it loses {values[0] - values[1]:.3f}; leave --quantize out"


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out onnxruntime's advice to process the file first: torch's exporter has folded BatchNorm and inferred the shapes."""
    root = logging.getLogger()
    root.addFilter(_is_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def _reader(batches: Iterator[dict[str, NDArray[np.uint8]]]) -> Any:
    """What onnxruntime asks for the next pictures."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # mypy does not read onnxruntime
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    return Reader()


def _answers(models: tuple[bytes, bytes], run: FinishedRun, data: Path | None) -> Iterator[tuple[Tensor, Tensor, NDArray[Any]]]:
    """Yield the probabilities (1, classes, ...) of two models for each of the same validation images, and its target."""
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(model) for model in models]
    for picture, target in run_pictures.pictures(run, "validation", _VALIDATION, data=data):
        before, after = (torch.from_numpy(session.run([graph.OUTPUT], {graph.INPUT: picture[None]})[0]) for session in sessions)
        yield before, after, target


def _compared(answers: Iterator[tuple[Tensor, Tensor, NDArray[Any]]], task: Task) -> str:
    """Return how good both models are, in words: of a task whose images are reduced to rows by what it is selected by."""
    if task.reduction is None:
        before, after, targets = zip(*answers, strict=True)
        return comparison(torch.cat(before), torch.cat(after), task.targets.batch(np.stack(targets)), task)
    rows: tuple[list[Tensor], list[Tensor]] = ([], [])
    for *both, target in answers:
        for found, each in zip(rows, both, strict=True):
            found.append(task.reduction.rows(logarithms(each), torch.tensor(target)[None]))
    return comparison_of_rows(torch.cat(rows[0]), torch.cat(rows[1]), task)
