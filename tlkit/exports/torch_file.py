"""A run's graph as a file of torch.export. No pickle: the inputs that it was traced with are left out."""

from __future__ import annotations

import io
import json

import torch

from tlkit.exports import graph
from tlkit.exports.finished_run import FinishedRun

CLASSES = "classes.json"  # among the archive's extra files


def to_bytes(run: FinishedRun) -> bytes:
    """Return the file of a run's graph, with its class names as an extra file.

    Raises:
        TlkitError: its preprocessing or its head cannot be computed in a graph.
    """
    program = graph.program(run)
    program.example_inputs = None
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={CLASSES: json.dumps(list(run.predictor.classes))})
    return buffer.getvalue()
