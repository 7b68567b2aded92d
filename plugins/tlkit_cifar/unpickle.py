"""Unpickle a CIFAR batch as data only.

A pickle may name any function to be called. Here it can name only the stand-ins below, which build integer arrays and
bytes; no function of numpy or of the standard library is within its reach, and every other name is refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlkit.errors import DataError, reason, shortened


class Array:
    """Stands in for numpy.ndarray while a pickle is read; the values are in `values`."""

    def __init__(self) -> None:
        self.values: NDArray[np.integer] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _, shape, dtype, fortran, raw = state
        self.values = _array(raw, dtype, shape, "F" if fortran else "C")


def unpickle(path: Path) -> dict[str, object]:
    """Return the dictionary that a pickle of Python 2 or 3 holds, arrays in it as `Array`.

    Raises:
        DataError: the file cannot be read, is damaged, names anything but arrays, or holds no dictionary.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except _RefusedError as error:
        raise DataError(
            f"{path}: {error}, so it was not read.", "a CIFAR batch holds lists, bytes and integer arrays only"
        ) from error
    except Exception as error:  # a damaged pickle raises nearly anything
        problem = f"{path}: is damaged or no pickle: {reason(error).removesuffix('.')}."
        raise DataError(problem, "fetch the official archive again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds {type(content).__name__}, not a dictionary.")
    return {text(key): value for key, value in content.items()}


def text(value: object) -> str:
    """Return a string of Python 2 or 3; Python 2's arrive as bytes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


class _RefusedError(Exception):
    """The pickle names something that no CIFAR batch needs."""


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python: the one in C takes as much memory as the largest number under which a pickle remembers something."""

    def find_class(self, module: str, name: str) -> object:
        # numpy 2 renamed numpy.core to numpy._core; files of both kinds exist.
        found = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise _RefusedError(f'the pickle asks for "{shortened(f"{module}.{name}")}"')
        return found


class _Dtype:
    """Stands in for numpy.dtype: integers only."""

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        self.code = text(code)
        self.order = "|"
        if not re.fullmatch("[iu][1248]", self.code):
            raise _RefusedError(f'the pickle holds an array of "{self.code}"')

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.order = text(state[1])


def _array(raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> NDArray[np.integer]:
    values: NDArray[np.integer] = np.frombuffer(raw, np.dtype(dtype.order + dtype.code))
    return values.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(kind: object, shape: object, code: object) -> Array:
    """Begin an array; its state follows (pickle protocols 0 to 4)."""
    return Array()


def _frombuffer(raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: object) -> Array:
    """Make a whole array (pickle protocol 5)."""
    array = Array()
    array.values = _array(raw, dtype, shape, text(order))
    return array


def _encode(value: str, encoding: object) -> bytes:
    """Make the bytes that Python 3 writes as text under protocols 0 to 2."""
    if text(encoding) != "latin1":
        raise _RefusedError(f'the pickle asks for the encoding "{shortened(text(encoding))}"')
    return value.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., object] | str] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of _reconstruct
    ("_codecs", "encode"): _encode,
}
