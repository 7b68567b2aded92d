"""A run's network from bytes to probabilities as one module: preprocessing, stages, head.

The rule: it gives the probabilities of `tlkit predict`, for pictures of any size. Of a head that answers for every pixel they are those of
the picture that `data.scale_to` has scaled already: how large a field of view is must be known before a graph's sizes are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlkit.engine.estimators import FittedHead
from tlkit.errors import TlkitError
from tlkit.exports import resizing, solved_heads
from tlkit.exports.canvas import Canvas, cropped
from tlkit.exports.finished_run import FinishedRun
from tlkit.network.network import Network

INPUT, OUTPUT = "pictures", "probabilities"
_EXAMPLE = (2, 48, 64)  # none of these numbers is kept: images, height and width stay open
_DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}


class Graph(nn.Module):
    """Preprocessing and network.

    Args:
        run: The run.

    Raises:
        TlkitError: its preprocessing or its head cannot be computed in a graph.
    """

    def __init__(self, run: FinishedRun) -> None:
        super().__init__()
        _refuse(run)
        network, convention = run.predictor.network, run.predictor.convention
        head = network.head
        if isinstance(head, FittedHead):
            head = solved_heads.module(head, str(run.folder))
        self.pixels = run.head.pixels
        self.resize = (
            Canvas(run.predictor.geometry, run.predictor.stride) if self.pixels else resizing.Resize(run.predictor.geometry)
        )
        self.network = Network(
            dict(network.stages.items()),
            head,
            reads=network.reads,
            task=network.task,
            positive=network.positive,
            packing=network.packing,
        )
        self.reversed = convention.channels == "bgr"
        self.white = 255 / convention.range
        for name, values in (("mean", convention.mean), ("std", convention.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return probabilities (N, classes) float32 of pictures (N, H, W, 3) uint8 RGB, or (N, H, W, bands) as in the run's files.

        Of a head that answers for every pixel they are (N, classes, H, W).
        """
        x = self.resize(pictures).to(torch.float32)  # (N, channels, height, width)
        if self.reversed:
            x = x.flip(1)
        x = (x / self.white - self.get_buffer("mean")) / self.get_buffer("std")
        logits = self.network(x)
        if self.pixels:
            logits = cropped(logits, pictures.shape[1], pictures.shape[2])
        return self.network.task.probabilities(logits)


def program(run: FinishedRun) -> torch.export.ExportedProgram:
    """Return the graph of a run, with the numbers of pictures, rows and columns left open.

    Raises:
        TlkitError: its preprocessing or its head cannot be computed in a graph.
    """
    graph = Graph(run).eval()
    geometry = run.predictor.geometry
    example = torch.zeros((*_EXAMPLE, geometry.shape[2]), dtype=_DTYPES[geometry.values])
    least = run.predictor.stride + 1 if run.head.pixels else 1  # a map of one row or column would be a graph of its own
    open_ = {0: torch.export.Dim("images"), 1: torch.export.Dim("height", min=least), 2: torch.export.Dim("width", min=least)}
    with torch.no_grad():
        return torch.export.export(
            graph, (example,), dynamic_shapes={INPUT: open_}, strict=False,
            prefer_deferred_runtime_asserts_over_guards=run.head.pixels,  # sides in whole strides are more than its solver proves
        )  # fmt: skip


def pictures(run: FinishedRun) -> str:
    """Return the pictures that a graph takes, in words."""
    upright = ", upright" if run.predictor.geometry.bands is None else ""
    scaled = ", scaled as the preprocessing says" if run.scaled_before else ""
    return f"pictures {run.pictures}, of any size{upright}{scaled}"


def _refuse(run: FinishedRun) -> None:
    if run.predictor.network.task.detections is not None:
        raise TlkitError(
            f"{run.folder}: it finds objects in boxes, and a graph of one output for each picture cannot hold lists of boxes.",
            "--to safetensors writes the weights",
        )
    if run.head.pixels:
        return
    if run.predictor.geometry.resize not in resizing.FILTERS:
        raise TlkitError(
            f'{run.folder}: its pictures are resized with the filter "{run.predictor.geometry.resize}", which the graph does not have.',
            f"filters: {', '.join(resizing.FILTERS)}",
            "--to safetensors writes the weights alone",
        )
