"""A `ComputeFormat` in torch's words: dtypes, memory formats, and how modules and tensors are put into one.

The rule: a device is asked only for what it has. TF32 and bfloat16 are in NVIDIA's GPUs from capability 8.0 on, float16 in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from tlkit.engine import tf32
from tlkit.record.formats import ComputeFormat, Precision

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# https://docs.nvidia.com/cuda/cuda-c-programming-guide, "Arithmetic Instructions": the capability of the first with such units
_TENSOR_CORES = (8, 0)


def in_form_(module: nn.Module, compute_format: ComputeFormat) -> nn.Module:
    """Put a module's tensors into a precision and memory format."""
    return module.to(DTYPES[compute_format.precision]).to(memory_format=LAYOUTS[compute_format.layout])


def cast(x: Tensor, compute_format: ComputeFormat) -> Tensor:
    """Return a feature map (N, C, h, w) in a precision and memory format; of other tensors only the precision."""
    return laid_out(x.to(DTYPES[compute_format.precision]), compute_format)


def laid_out(x: Tensor, compute_format: ComputeFormat) -> Tensor:
    """Return a feature map (N, C, h, w) in a memory format; other tensors as they are."""
    return x.contiguous(memory_format=LAYOUTS[compute_format.layout]) if x.ndim == 4 else x


def halves(compute_format: ComputeFormat) -> bool:
    """Whether feature maps take two bytes a value."""
    return DTYPES[compute_format.precision].itemsize == 2


def rounding(compute_format: ComputeFormat) -> AbstractContextManager[None]:
    """Let convolutions and products of float32 values be rounded as a format says, their gradients' too."""
    return tf32.allowed() if compute_format.precision == "tf32" else nullcontext()


@contextmanager
def computing(compute_format: ComputeFormat, device: torch.device) -> Iterator[None]:
    """Compute a forward pass of float32 weights in the precision of a format."""
    with (
        rounding(compute_format),
        torch.autocast(device.type, DTYPES[compute_format.precision], enabled=halves(compute_format)),
    ):
        yield


def considered(device: torch.device, asked: str) -> Sequence[Precision]:
    """Return the precisions that are worth measuring on a device: the one that a recipe asks for, or with "auto" all that it has."""
    if asked != "auto":
        return [name for name in DTYPES if name == asked]
    if device.type == "cuda":
        return ("float32", "tf32", "bfloat16") if _capability(device) >= _TENSOR_CORES else ("float32", "float16")
    return ("float32", "bfloat16")


def why_not(precision: str, device: torch.device) -> tuple[str, str] | None:
    """Return why a network cannot be trained in a precision on a device and what can be taken instead; None where it can."""
    if device.type == "cpu" and precision == "tf32":
        return "tf32 is a precision of NVIDIA GPUs, and this run uses the CPU", 'precision = "float32"'
    if device.type == "cpu" and precision == "float16":
        return "gradients in float16 are scaled, which is made for GPUs, and this run uses the CPU", 'precision = "bfloat16"'
    if precision == "tf32" and torch.cuda.is_available() and _capability(device) < _TENSOR_CORES:
        name, (major, minor) = torch.cuda.get_device_name(device), _capability(device)
        return f"{name} has no tf32: its capability is {major}.{minor}, and tf32 needs 8.0", 'precision = "float16"'
    return None


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
