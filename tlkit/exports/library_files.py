"""Weights of a run for the library that its backbone comes from: a .safetensors file, and timm's configuration.

The rule: the library's own network loads the file strictly, or the export is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tlkit.engine.estimators import FittedHead
from tlkit.errors import TlkitError, option
from tlkit.exports.finished_run import FinishedRun
from tlkit.exports.forms import Form
from tlkit.network import tensor_writer, weights

CONFIGURATION = "config.json"  # beside the weights, as the model hub has it for timm
_FIRST = '"architecture": '  # the key by which such a file is known
_PREFIXES = {Form.TORCHVISION: "torchvision.models.", Form.TIMM: "timm."}
_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}  # timm.data.create_transform


def contents(path: Path, run: FinishedRun, form: Form) -> dict[Path, Iterable[bytes | memoryview]]:
    """Return the files of an export and what they hold: the weights, with class names, preprocessing and threshold in their metadata.

    Args:
        path: The file of the weights.
        run: The run.
        form: SAFETENSORS, TORCHVISION or TIMM.

    Raises:
        TlkitError: the run has no such form, or a file beside it would be lost.
    """
    _refuse(run, form)
    tensors = weights.export(run.predictor.network, run.backbone, linear=run.head.fits(run.backbone))
    metadata = {
        "format": "pt",  # readers of such files ask for it
        "library": run.backbone.library,
        **run.metadata,
    }
    found: dict[Path, Iterable[bytes | memoryview]] = {path: tensor_writer.chunks(tensors, metadata)}
    if form is Form.TIMM:
        beside = path.parent / CONFIGURATION
        if beside.is_file() and _FIRST not in beside.read_text(encoding="utf-8", errors="replace"):
            raise TlkitError(
                f"{beside}: is not of an export, and this one would replace it.",
                f"another folder: {option('out', 'FOLDER/FILE')}",
            )
        found[beside] = [(json.dumps(configuration(run), indent=2) + "\n").encode()]
    return found


def call(run: FinishedRun) -> str:
    """Return the Python expression that makes the library's own network, without weights."""
    classes, name = len(run.predictor.classes), run.backbone.library.rpartition(".")[2]
    if run.backbone.library.startswith(_PREFIXES[Form.TIMM]):
        return f'timm.create_model("{architecture(run)}", num_classes={classes})'
    more = ", aux_logits=True, transform_input=True, init_weights=False" if run.backbone.aux_heads else ""
    return f"torchvision.models.{name}(num_classes={classes}{more})"


def architecture(run: FinishedRun) -> str:
    """Return timm's name of the network, without a tag."""
    return run.backbone.library.removeprefix(_PREFIXES[Form.TIMM]).partition(".")[0]


def configuration(run: FinishedRun) -> dict[str, Any]:
    """Return timm's config.json: the network, its classes and its preprocessing."""
    convention, geometry = run.predictor.convention, run.predictor.geometry
    return {
        "architecture": architecture(run),
        "num_classes": len(run.predictor.classes),
        "num_features": run.backbone.features,
        "pretrained_cfg": {
            "input_size": [3, *geometry.size],
            "interpolation": convention.resize,
            "crop_pct": geometry.size[0] / geometry.resized[0],
            "crop_mode": _CROP_MODES[geometry.fit],
            "mean": [value / convention.range for value in convention.mean],
            "std": [value / convention.range for value in convention.std],
            "num_classes": len(run.predictor.classes),
            "classifier": run.backbone.classifier,
        },
        "label_names": list(run.predictor.classes),
    }


def _refuse(run: FinishedRun, form: Form) -> None:
    """Refuse a run whose network is not of that form.

    Raises:
        TlkitError: with the reason.
    """
    if isinstance(run.predictor.network.head, FittedHead):
        raise TlkitError(
            f"{run.folder}: the {run.arm.head.kind} head is scikit-learn's and has no tensors, which --to {form.value} writes.",
            "--to onnx and --to torch-export compute it",
        )
    if form is Form.SAFETENSORS:
        return
    library, prefix = run.backbone.library or "tlkit's own", _PREFIXES[form]
    name = run.arm.backbone.name
    if not library.startswith(prefix):
        own = [each.value for each, start in _PREFIXES.items() if library.startswith(start)]
        others = " or ".join(f"--to {each}" for each in [*own, Form.SAFETENSORS.value])
        raise TlkitError(f"{run.folder}: {name} is a network of {library}, not of {form.value}.", others)
    if not run.backbone.whole:
        raise TlkitError(
            f"{run.folder}: its head reads {list(run.backbone.stages)[-1]}, and {library} has its classifier after all stages.",
            "--to safetensors",
        )
    if not run.head.fits(run.backbone):
        raise TlkitError(
            f"{run.folder}: {library} has another classifier than the {run.arm.head.kind} head.",
            'head.kind = "conv" fits it' if run.backbone.maps else 'head.kind = "linear" and "multilabel" fit it',
            "--to safetensors",
        )
    if run.predictor.geometry.bands not in (None, 3):
        raise TlkitError(
            f"{run.folder}: its first convolution reads {run.predictor.geometry.bands} bands, that of {library} three colours.",
            "--to safetensors",
        )
    if form is Form.TIMM and run.predictor.convention.channels == "bgr":
        raise TlkitError(f"{run.folder}: its network reads BGR, and timm has no such preprocessing.", "--to safetensors")
