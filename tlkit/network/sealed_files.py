"""Files of tensors that hold their own checksum: one that was cut off or altered is noticed, wherever it lies.

The rule: the checksum is a sha256 of the whole file, in which its own place is filled with zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tlkit import files
from tlkit.errors import WeightsError, readable
from tlkit.network import tensor_writer, weights

_KEY, _EMPTY = "sha256", "0" * 64
_PLACE = 8 + len(f'{{"__metadata__":{{"{_KEY}":"')  # in the file: after the length, at the beginning of the header
_AT_ONCE = 1 << 20  # bytes


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file with tensors, text metadata and a checksum, atomically; one tensor at a time is copied.

    Raises:
        OSError: as the system says it.
    """
    total = hashlib.sha256()
    with files.replacing(path) as file:
        for chunk in tensor_writer.chunks(tensors, {_KEY: _EMPTY, **metadata}):
            file.write(chunk)
            total.update(chunk)
        file.seek(_PLACE)
        file.write(total.hexdigest().encode())


def checked(path: Path) -> dict[str, str]:
    """Return the text metadata of a file, after comparing all of it with its checksum.

    Raises:
        WeightsError: the file cannot be read, or is not as it was written.
    """
    total, size = hashlib.sha256(), _PLACE + len(_EMPTY)
    with readable(path, WeightsError), path.open("rb") as file:
        head = file.read(size)
        total.update(head[:_PLACE] + _EMPTY.encode())
        while chunk := file.read(_AT_ONCE):
            total.update(chunk)
    if head[_PLACE:] != total.hexdigest().encode():
        raise WeightsError(f"{path}: is damaged: it has other content than when it was written.")
    return weights.metadata(path)
