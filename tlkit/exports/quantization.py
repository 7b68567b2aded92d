"""Bring a run's ONNX graph to 8-bit integers, and measure what that costs.

The rule: the preprocessing stays as it is; convolutions and linear layers are quantised, each channel of a weight by itself, and the
ranges of their inputs are those that training images have.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit.engine.estimators import FittedHead
from tlkit.errors import TlkitError
from tlkit.exports import graph, run_pictures
from tlkit.exports.finished_run import FinishedRun

_CALIBRATION = 128  # training images; onnxruntime's own examples take about a hundred
_VALIDATION = 1_000  # images of which both accuracies are told
_OPERATIONS = ["Conv", "Gemm", "MatMul"]


def quantized(model: Any, run: FinishedRun) -> tuple[bytes, str]:
    """Return a quantised ONNX file, and the accuracies of both on validation images, in words.

    Args:
        model: An onnx.ModelProto of the run.
        run: Its data set must be on this machine.

    Raises:
        TlkitError: its head is solved, or its images are not here.
    """
    from onnxruntime import quantization

    if isinstance(run.predictor.network.head, FittedHead):
        raise TlkitError(
            f"{run.folder}: the {run.arm.head.kind} head is computed in float64 and is not quantised.", "leave --quantize out"
        )
    float32 = model.SerializeToString()  # before onnxruntime moves its weights to a file
    batches = ({graph.INPUT: picture[None]} for picture, _ in run_pictures.pictures(run, "train", _CALIBRATION))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model, path, _reader(batches), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=_OPERATIONS,
        )  # fmt: skip
        content = path.read_bytes()
    before, after, images = _accuracies((float32, content), run)
    return content, f"accuracy on {images:,} validation images: {after:.1%} as int8, {before:.1%} as float32"


def _reader(batches: Iterator[dict[str, NDArray[np.uint8]]]) -> Any:
    """What onnxruntime asks for the next pictures."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # mypy does not read onnxruntime
        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(batches, None)

    return Reader()


def _accuracies(models: tuple[bytes, bytes], run: FinishedRun) -> tuple[float, float, int]:
    """The accuracy of two models on the same validation images, and their number."""
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(model) for model in models]
    rows: list[list[NDArray[np.float32]]] = [[], []]
    targets = []
    for picture, target in run_pictures.pictures(run, "validation", _VALIDATION):
        for session, found in zip(sessions, rows, strict=True):
            found.append(session.run([graph.OUTPUT], {graph.INPUT: picture[None]})[0])
        targets.append(target)
    task, wanted = run.predictor.network.task, run.predictor.network.task.targets.batch(np.stack(targets))
    parts = []
    for found in rows:
        # the logit is on the same side of 0 as the probability is of 1/2, and orders the classes as it does
        correct, total = task.correct(torch.logit(torch.from_numpy(np.concatenate(found)).double(), eps=1e-9), wanted)
        parts.append(float(correct) / float(total))
    return parts[0], parts[1], len(targets)
