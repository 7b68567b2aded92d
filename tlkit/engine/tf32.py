"""TF32 on NVIDIA GPUs: whether convolutions and matrix products of float32 numbers keep 10 bits of each factor, or all 23.

The rule: float32 means all 23 bits, whatever the program had set; torch's own default rounds convolutions to TF32. Torch has two
interfaces to the same flags, and where a program mixed them, the older one raises; so they are read through the newer one.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html, "TensorFloat-32 (TF32) on Ampere (and later) devices".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, Protocol, cast

import torch

_EXACT: Literal["ieee"] = "ieee"  # torch's word for float32 as it is
_TF32: Literal["tf32"] = "tf32"


class _Flag(Protocol):
    fp32_precision: str


class _Cudnn(_Flag, Protocol):
    conv: _Flag


_CUDNN = cast(_Cudnn, torch.backends.cudnn)  # torch leaves the flags untyped


def described() -> str:
    """Return how convolutions and matrix products of float32 numbers are rounded on a GPU now, in torch's words."""
    convolutions, products = _CUDNN.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    return f"convolutions {_word(convolutions)}, products {_word(products)}"


@contextmanager
def forbidden() -> Iterator[None]:
    """Compute float32 in float32 as long as the context lasts, and put the flags back as they were."""
    with _FLAGS.as_(_EXACT):
        yield


@contextmanager
def allowed() -> Iterator[None]:
    """Round the factors of float32 convolutions and products to TF32 as long as the context lasts, and put the flags back."""
    with _FLAGS.as_(_TF32):
        yield


class _Flags:
    """The flags of the process. Of several threads the last one that began says how they are, and the last to end puts them back."""

    def __init__(self) -> None:
        self._lock, self._kept = threading.Lock(), ExitStack()
        self._wanted: dict[object, Literal["ieee", "tf32"]] = {}

    @contextmanager
    def as_(self, wanted: Literal["ieee", "tf32"]) -> Iterator[None]:
        """Have them so within the block."""
        mine = object()
        with self._lock:
            if not self._wanted:
                self._kept.enter_context(_products_kept())
                self._kept.enter_context(_convolutions_kept())
            self._wanted[mine] = wanted
            _set(wanted)
        try:
            yield
        finally:
            with self._lock:
                del self._wanted[mine]
                if self._wanted:
                    _set(list(self._wanted.values())[-1])
                else:
                    self._kept.close()


_FLAGS = _Flags()


def _word(precision: str) -> str:
    return _EXACT if precision == "none" else precision


def _set(wanted: Literal["ieee", "tf32"]) -> None:
    """Set the flag of products through the older interface, which keeps both in step: kernels of cuBLAS refuse flags that contradict each
    other. And that of all of cuDNN, which convolutions follow unless somebody set theirs, and then that too.
    """
    torch.backends.cuda.matmul.allow_tf32 = wanted == _TF32
    _CUDNN.fp32_precision = wanted
    if _CUDNN.conv.fp32_precision != wanted:
        _CUDNN.conv.fp32_precision = wanted


@contextmanager
def _convolutions_kept() -> Iterator[None]:
    every, own = _CUDNN.fp32_precision, _CUDNN.conv.fp32_precision
    try:
        yield
    finally:
        _CUDNN.fp32_precision = "none"  # then it follows torch.backends.fp32_precision, as it does unless somebody set it
        if _CUDNN.fp32_precision != every:
            _CUDNN.fp32_precision = every
        if _CUDNN.conv.fp32_precision != own:
            _CUDNN.conv.fp32_precision = own


@contextmanager
def _products_kept() -> Iterator[None]:
    matmul, own, word = torch.backends.cuda.matmul, torch.backends.cuda.matmul.fp32_precision, _older_word()
    try:
        yield
    finally:
        matmul.allow_tf32 = word == "high"
        if word == "medium":
            torch.set_float32_matmul_precision(word)
        matmul.fp32_precision = "none"
        if matmul.fp32_precision != own:
            matmul.fp32_precision = own


def _older_word() -> str:
    """Return what the older interface was told of products: "highest", "high", or "medium"."""
    for read in (torch.get_float32_matmul_precision, lambda: "high" if torch.backends.cuda.matmul.allow_tf32 else "highest"):
        try:
            return str(read())
        except RuntimeError:  # it was told one thing and the newer interface another, here or of the CPU
            continue
    return "highest"
