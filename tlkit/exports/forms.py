"""The forms that a run can be exported to, by the names that `--to` takes. Imports no torch."""

from __future__ import annotations

from enum import StrEnum

from tlkit.errors import UsageError, nearest, option


class Form(StrEnum):
    """A kind of file."""

    ONNX = "onnx"
    TORCH_EXPORT = "torch-export"
    SAFETENSORS = "safetensors"
    TORCHVISION = "torchvision"
    TIMM = "timm"

    @property
    def suffix(self) -> str:
        """The usual ending of the file's name."""
        return {Form.ONNX: ".onnx", Form.TORCH_EXPORT: ".pt2"}.get(self, ".safetensors")


def form(name: str) -> Form:
    """Return the form of a name.

    Raises:
        TlkitError: there is no such form.
    """
    names = [each.value for each in Form]
    if name not in names:
        raise UsageError(f"{option('to', str(name))}: is not supported.", f"one of: {', '.join(names)}", nearest(name, names))
    return Form(name)
