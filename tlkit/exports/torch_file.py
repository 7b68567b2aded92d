"""A run's graph as a file of torch.export. No pickle: the inputs that it was traced with are left out."""

from __future__ import annotations

import io

import torch

from tlkit.exports import graph
from tlkit.exports.finished_run import FinishedRun

CLASSES, THRESHOLD = "classes.json", "threshold.json"  # among the archive's extra files
_TEXTS = ("task", "input")  # the others are JSON


def to_bytes(run: FinishedRun) -> bytes:
    """Return the file of a run's graph, with the metadata that an ONNX file has as extra files.

    Raises:
        TlkitError: its preprocessing or its head cannot be computed in a graph.
    """
    program = graph.program(run)
    program.example_inputs = None
    buffer = io.BytesIO()
    told = {**run.metadata, "input": graph.pictures(run)}
    extra = {f"{key}.{'txt' if key in _TEXTS else 'json'}": value for key, value in told.items()}
    torch.export.save(program, buffer, extra_files=extra)
    return buffer.getvalue()
