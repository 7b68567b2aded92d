"""Export a run: write the file of a form and its model card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tlkit import files
from tlkit.errors import TlkitError, UsageError, option, writable
from tlkit.exports import finished_run, library_files, model_card, onnx_file, quantization, torch_file
from tlkit.exports.finished_run import FinishedRun
from tlkit.exports.forms import Form
from tlkit.plans import licences

FOLDER = "exported"  # in the working folder, where no file is named


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        file: The network.
        card: The model card.
    """

    file: Path
    card: Path


def export(
    folder: Path,
    form: Form,
    out: Path | None = None,
    *,
    quantize: str | None = None,
    data: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write a run's network as a file that other programs load, and a model card beside it.

    Args:
        folder: The run's.
        form: Of the file.
        out: The file; by default exported/RUN/FORM/model with the usual ending.
        quantize: "int8" brings an ONNX file to 8-bit integers; the run's images must be on this machine.
        data: Folder of these images; None where the recipe, or the cache, has it.
        note: Told what a user should know: changed plugins, what int8 costs, licences that forbid commercial use.

    Raises:
        RunFolderError: the run cannot be read.
        TlkitError: it has no such form, or the file cannot be written.
    """
    _refuse_quantize(quantize, form)
    if data is not None and quantize is None:
        raise UsageError(
            f"{option('data', str(data))}: is for the images of {option('quantize', 'int8')}.", "give both, or neither"
        )
    path = out or Path(FOLDER) / folder.resolve().name / form.value / f"model{form.suffix}"
    if path.is_dir():
        raise TlkitError(f"{path}: is a folder.", f"a file: {option('out', str(path / f'model{form.suffix}'))}")
    model_card.refuse_other(path.parent)
    run = finished_run.load(folder, note=note)
    said = ""
    if quantize is not None:
        content, said = quantization.quantized(onnx_file.model(run), run, data)
        contents: dict[Path, Iterable[bytes | memoryview]] = {path: [content]}
        note(said)
    else:
        contents = _contents(path, run, form)  # before a folder is made: what is refused leaves nothing
    with writable(path, f"another file: {option('out', 'FILE')}"):
        files.make_folder(path.parent)
        for file, chunks in contents.items():
            files.replace_with(file, chunks)
        card = model_card.write(path, run, form, also=said)
    for licence in licences.of(run.arm, run.backbone):
        if licence.warning:
            note(licence.warning)
    return Exported(path, card)


def _refuse_quantize(quantize: str | None, form: Form) -> None:
    if quantize not in (None, "int8"):
        raise UsageError(f"{option('quantize', str(quantize))}: is not supported.", "int8")
    if quantize is not None and form is not Form.ONNX:
        raise UsageError(
            f"{option('quantize', quantize)}: is for --to onnx, not for {form.value}.", "--to onnx, or leave it out"
        )


def _contents(path: Path, run: FinishedRun, form: Form) -> dict[Path, Iterable[bytes | memoryview]]:
    """The files of an export and what they hold, without the card."""
    match form:
        case Form.ONNX:
            return {path: [onnx_file.to_bytes(run)]}
        case Form.TORCH_EXPORT:
            return {path: [torch_file.to_bytes(run)]}
        case _:
            return library_files.contents(path, run, form)
