"""A run's graph as an ONNX file, with class names, preprocessing and threshold in its metadata."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from tlkit.errors import TlkitError
from tlkit.exports import graph
from tlkit.exports.finished_run import FinishedRun

_LIBRARIES = ("onnx", "onnxscript")
_LARGEST = 2_000_000_000  # bytes of one protobuf message are less than 2^31


def to_bytes(run: FinishedRun) -> bytes:
    """Return the file of a run's graph.

    Raises:
        TlkitError: the extra `tlkit[onnx]` is not installed, or the run cannot be computed in a graph.
    """
    content: bytes = model(run).SerializeToString()
    return content


def model(run: FinishedRun) -> Any:
    """Return an onnx.ModelProto of a run.

    Raises:
        TlkitError: as `to_bytes`.
    """
    _refuse_missing()
    network = run.predictor.network
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.tensors().values())
    if size > _LARGEST:
        raise TlkitError(
            f"{run.folder}: its weights have {size:,} bytes, and one ONNX file holds {_LARGEST:,}.", "--to torch-export"
        )
    exported = torch.onnx.export(
        graph.program(run), dynamo=True, input_names=[graph.INPUT], output_names=[graph.OUTPUT], verbose=False
    )
    assert exported is not None
    made = exported.model_proto
    for key, value in {**run.metadata, "input": graph.pictures(run)}.items():
        made.metadata_props.add(key=key, value=value)
    made.producer_name = "tlkit"
    return made


def _refuse_missing() -> None:
    """Refuse where the extra is not installed.

    Raises:
        TlkitError: with what to install.
    """
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if absent:
        raise TlkitError(f"--to onnx needs {' and '.join(absent)}.", "pip install 'tlkit[onnx]'")
