"""The model card of an export: README.md beside the file."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

from tlkit import files, tasks
from tlkit.engine.images import decode
from tlkit.errors import RunFolderError, TlkitError, first_and_more, option
from tlkit.exports import library_files
from tlkit.exports.finished_run import FinishedRun
from tlkit.exports.forms import Form
from tlkit.exports.torch_file import CLASSES
from tlkit.plans import licences
from tlkit.record import run_folder, selection
from tlkit.reports.page import arm_scores, runs
from tlkit.reports.page.runs import ShownArm
from tlkit.reports.plain_text import plain

CARD = "README.md"
_BEGIN = "---\nlibrary_name: tlkit\n"
_SHOWN = 20  # classes that the card lists; the file has all


def refuse_other(folder: Path) -> None:
    """Refuse a folder whose README.md is no model card, before anything is written.

    Raises:
        TlkitError: it would be replaced.
    """
    path = folder / CARD
    if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_BEGIN):
        raise TlkitError(
            f"{path}: is no model card, and the export would replace it.", f"another folder: {option('out', 'FOLDER/FILE')}"
        )


def write(file: Path, run: FinishedRun, form: Form, *, also: str = "") -> Path:
    """Write the card of an exported file.

    Args:
        file: The export; the card is written beside it.
        run: What was exported.
        form: As what.
        also: What else is to be said of the result, a sentence.

    Raises:
        OSError: it cannot be written.
    """
    sections = [_head(run), _result(run, also), _use(file, run, form), _pixels(run, form), _origin(run)]
    files.replace(file.parent / CARD, "\n\n".join(sections) + "\n")
    return file.parent / CARD


def _markdown(name: str) -> str:
    """Return a name of others as text of Markdown: no markup, no HTML, one line."""
    return re.sub(r"([\\`*\[\]|<>&#!])", r"\\\1", " ".join(plain(name).split()))


def _head(run: FinishedRun) -> str:
    names, result = run.predictor.classes, run.result
    listed = first_and_more([*map(_markdown, names)], _SHOWN)
    title = f"{run.arm.backbone.name} for {len(names)} classes of {run.arm.data.name}"
    told = (
        "" if result is None else f" of the recipe `{result.recipe}`, {run_folder.label(result.arm, result.seed, result.fold)}"
    )
    task = run.predictor.network.task
    pipeline = (
        "image-segmentation" if run.head.pixels else "image-classification" if task.detections is None else "object-detection"
    )
    kind = f"An image classifier ({task.name.replace('_', ' ')})"
    if run.head.pixels:
        kind = "A network that gives the class of every pixel"
    if task.detections is not None:
        kind = "A network that finds objects in boxes"
    return (
        f"{_BEGIN}pipeline_tag: {pipeline}\n---\n\n# {title}\n\n"
        f"{kind}: the backbone {run.arm.backbone.name} with the head {run.arm.head.kind}, "
        f"trained with tlkit. It is the network{told}.\n\nClasses, in the order of the outputs: {listed}."
    )


def _result(run: FinishedRun, also: str) -> str:
    """The metric that this network is judged by and, with its interval as a report has it, that of its arm."""
    lines = ["## Result", ""]
    arm = None
    with contextlib.suppress(RunFolderError):  # the plan of this run or of another seed is missing, or of an earlier version
        arm = runs.arm_of(run.folder) if run.result is not None else None
    for split in ("test", "validation"):
        scores = None if run.result is None else getattr(run.result, split)
        if scores is None:
            continue
        by = tasks.headline(scores)
        text = f"- {split} images: {'accuracy ' if by == selection.USUAL else ''}{selection.shown(scores, by)}"
        if arm is not None and split == arm.first.split:
            text += _interval(arm, by)
        lines.append(f"{text}, loss {scores['loss']:.4f}")
    if len(lines) == 2:
        lines.append("It was not measured on images that it was not trained on.")
    return "\n".join([*lines, *([f"- {also}"] if also else [])])


def _interval(arm: ShownArm, by: str) -> str:
    mean, interval, kind = arm_scores.interval_of(arm, by)
    shown = [selection.value({by: each}, by) for each in (mean, *(() if interval is None else (interval.low, interval.high)))]
    known = "" if interval is None else f"95 % interval {shown[1]} to {shown[2]}"
    if len(arm.runs) == 1:
        return f" ({known}: {kind})" if known else ""
    return f" (mean of {len(arm.runs)} runs {shown[0]}" + (f", {known}: {kind})" if known else ")")


def _use(file: Path, run: FinishedRun, form: Form) -> str:
    of = "of each of its classes for every pixel" if run.head.pixels else "of each of its classes for every picture"
    if run.predictor.network.task.detections is not None:
        of = "for every box that it gives"
    intended = (
        f"It is meant for pictures like those that it was trained on. It gives a probability {of}, "
        "whatever that shows. The probabilities are not calibrated."
    )
    if run.several_labels:
        intended += f" A picture has the classes whose probability is {run.threshold:g} or more, or none: the results above are at that."
    elif run.threshold is not None:
        intended += (
            f" A pixel is of {_markdown(run.predictor.classes[1])} where its probability is {run.threshold:.3g} or more: that gave the best "
            "Dice on the validation images. The results above are at 0.5."
        )
    call = library_files.call(run) if form in (Form.TORCHVISION, Form.TIMM) else ""
    colours = run.predictor.geometry.bands is None
    reading = {"pillow": _PILLOW if colours else "", "picture": _PICTURE if colours else _ARRAY}
    scaling = _scaling(run) if colours and run.scaled_before else ""
    if scaling:
        reading["picture"] = _SCALED.format(filter=run.predictor.geometry.resize.upper())
    code = _CODE[form].format(file=file.name, classes=CLASSES, call=call, library=form.value, **reading)
    if run.several_labels:
        code = _of_labels(code, run.threshold)
    if run.head.pixels:
        code = _of_pixels(code, run.threshold).replace("picture = ", f"{scaling}picture = ", 1)
    kinds = _OTHER_KINDS if colours and form in (Form.ONNX, Form.TORCH_EXPORT) else ""
    return f"## Use\n\n{intended}\n\n{kinds}```python\n{code}```"


def _scaling(run: FinishedRun) -> str:
    """Return the lines of an example that open a picture and say what its sides are before the graph takes it."""
    factor = run.predictor.geometry.scale
    field = run.predictor.geometry.field_of_view
    measured = f"factor = {factor!r}\n" if field is None else _FIELD_OF_VIEW.format(field=field)
    return f"{_OPENED}{measured}{_SIDES}"


def _of_pixels(code: str, threshold: float | None) -> str:
    """Return an example whose network answers for pictures as one whose network answers for every pixel."""
    mask = "probabilities[0].argmax(0)" if threshold is None else f"1 * (probabilities[0][1] >= {threshold!r})"
    lines = [f"mask = {mask}  # (H, W), places in classes" if "argmax()" in line else line for line in code.split("\n")]
    return "\n".join(lines).replace("# (1, classes)", "# (1, classes, H, W)")


def _of_labels(code: str, threshold: float | None) -> str:
    """Return an example whose network chooses one class as one whose network may choose several."""
    several = f"print([name for name, each in zip(classes, probabilities[0]) if each >= {threshold!r}])"
    return "\n".join(several if "argmax()" in line else line for line in code.split("\n"))


def _pixels(run: FinishedRun, form: Form) -> str:
    brought = (
        '`resized` is what the picture is resized to cover (`fit` "crop"), to fit into ("pad") or to be ("squash"), antialiased as '
        "Pillow does it; `image_size` is the middle of that."
    )
    if run.head.pixels:
        brought = (
            "A picture keeps its size. It is padded below and on the right with the colour `padding` until its sides are multiples of "
            "`whole_strides`, and the answers for the padding are cut off."
        )
        if form is Form.TORCH_EXPORT:
            brought += f" Each side must have more than {run.predictor.stride} pixels."
        if run.scaled_before:
            brought = (
                "A picture is scaled before the network takes it, with the filter `resize`, antialiased as Pillow does it: by `factor`, or "
                "until its `field_of_view` has so many pixels as diameter. The answers are for the pixels of the scaled picture. "
            ) + brought.replace("keeps its size. It is", "is")
    told = decode.described(run.arm.data, run.predictor.convention)
    listed = [f"- {key.replace('_', ' ')}: {value}" for key, value in told.items()]
    return (
        "## Preprocessing\n\nHow image files are read:\n\n"
        + "\n".join(listed)
        + "\n\nAnd then brought to the network's input:\n\n"
        + "\n".join(f"- {key}: `{json.dumps(value)}`" for key, value in run.preprocessing.items())
        + "\n\n"
        + f"{brought} A value v becomes (v * range / 255 - mean) / std."
    )


def _origin(run: FinishedRun) -> str:
    lines = []
    for each in licences.of(run.arm, run.backbone):
        warning = " **It forbids commercial use.**" if each.forbids_commercial_use else ""
        lines.append(f"- licence of the {each.of}: {each.words}.{warning}")
    if run.result is not None:
        versions = ", ".join(f"{name} {version}" for name, version in run.result.versions.items())
        lines += [
            f"- run: {run.folder.name}" + (f", digest {run.result.digest}" if run.result.digest else ""),
            f"- made with: {versions}",
        ]
    recipe = (run.folder / run_folder.RECIPE).read_text(encoding="utf-8").strip()
    return "## Origin\n\n" + "\n".join(lines) + f"\n\n```toml\n{recipe}\n```"


# What the examples of graphs read: a picture of colours, or an array of bands.
_PILLOW = "from PIL import Image, ImageOps\n"
_UPRIGHT = 'ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")'
_PICTURE, _ARRAY = f"np.array({_UPRIGHT})", 'np.load("picture.npy")'
_OTHER_KINDS = "Transparent pictures and those of more than 8 bits are first brought to RGB as the next section says.\n\n"

_OPENED = f"image = {_UPRIGHT}\n"
_FIELD_OF_VIEW = """\
light = np.array(image).max(2)
crossed = [np.flatnonzero((light > 0.15 * np.quantile(light, 0.99)).mean(axis) > 0.02) for axis in (0, 1)]
factor = {field} / max(each[-1] - each[0] + 1 for each in crossed)  # or by a mask of the field of view
"""
_SIDES = "sides = [max(1, round(side * factor)) for side in image.size]\n"
_SCALED = "np.array(image.resize(sides, Image.Resampling.{filter}))"

_WEIGHTS = """\
import json

import {library}
from safetensors import safe_open
from safetensors.torch import load_file

network = {call}
network.load_state_dict(load_file("{file}"))
network.eval()
with safe_open("{file}", framework="pt") as file:
    classes = json.loads(file.metadata()["classes"])
"""
_TENSORS = """\
import json

from safetensors import safe_open
from safetensors.torch import load_file

tensors = load_file("{file}")  # by the names of the backbone's library
with safe_open("{file}", framework="pt") as file:
    classes = json.loads(file.metadata()["classes"])
"""
_CODE = {
    Form.SAFETENSORS: _TENSORS,
    Form.TORCHVISION: _WEIGHTS,
    Form.TIMM: _WEIGHTS,
    Form.ONNX: """\
import json

import numpy as np
import onnxruntime
{pillow}
session = onnxruntime.InferenceSession("{file}")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
picture = {picture}
(probabilities,) = session.run(None, {{"pictures": picture[None]}})  # (1, classes)
print(classes[probabilities[0].argmax()])
""",
    Form.TORCH_EXPORT: """\
import json

import numpy as np
import torch
{pillow}
extra = {{"{classes}": ""}}
network = torch.export.load("{file}", extra_files=extra).module()
classes = json.loads(extra["{classes}"])
picture = torch.from_numpy({picture})
probabilities = network(picture[None])  # (1, classes)
print(classes[int(probabilities[0].argmax())])
""",
}
