"""Read the named tensors of a weights file or a training checkpoint.

The rule: what is chosen between several sets of weights is said, and a key chooses another.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from tlkit.errors import WeightsError, first_and_more
from tlkit.network import torch_files

_SHOWN = 6  # names that a message lists
_DEPTH = 4  # of dicts in dicts

# Under these keys training scripts keep weights: an average of them, as timm (state_dict_ema), torchvision (model_ema) and others
# call it, and the weights themselves. "module" and "shadow" are what an average's own class keeps its weights under.
_AVERAGED = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "model_ema_state_dict",
    "ema",
    "ema_params",
    "params_ema",
)
_WEIGHTS = (
    *("state_dict", "model_state_dict", "model", "model_state", "model_weights", "net", "network", "params", "weights"),
    *("module", "shadow"),
)
_COUNTER = "n_averaged"  # torch.optim.swa_utils.AveragedModel's, beside the names that begin with "module."
_PARALLEL = "module."  # DataParallel's prefix of every name

# What files are that are no weights, by how they begin.
_OTHERS = (
    (rb"\Z", "is empty", "copy or download it again"),
    (
        rb"\s*<(!doctype|html|\?xml)",
        "is a web page, not weights",
        "download the file itself: the address led to a page about it",
    ),
    (rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP", "is an image, not weights", "a .safetensors, .npz or torch file of tensors"),
    (rb"version https://git-lfs", "is a pointer of Git LFS, not the weights", "git lfs pull, or download the file itself"),
    (rb"\x89HDF", "is an HDF5 file, as Keras writes them", "weights of torch: .safetensors, .npz or a torch file of tensors"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ", "is a compressed file", "unpack it, and name the file inside"),
)


@dataclass(frozen=True)
class NamedTensors:
    """The tensors of a file.

    Attributes:
        tensors: Name -> tensor, on the CPU.
        notes: What was decided about the file, a sentence each.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read(path: Path, part: str = "") -> NamedTensors:
    """Read named tensors from a .safetensors, .npz or torch file.

    Of a training checkpoint those under the usual keys are taken, an average (EMA) before the weights that it is of.

    Args:
        path: The file.
        part: The key under which a checkpoint holds the tensors, "model", "outer.inner"; "" for the usual one.

    Raises:
        WeightsError: the file is damaged, or holds something other than named tensors, or no such part.
    """
    contents = _contents(path)
    named, notes = (_part(path, contents, part), ()) if part else _usual(path, contents)
    tensors = {str(name): tensor for name, tensor in named.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no named tensors.", *_parts(path, contents), "a state_dict, name -> tensor")
    rest = {name: tensor for name, tensor in tensors.items() if name != _COUNTER}
    if rest and all(name.startswith(_PARALLEL) for name in rest):
        tensors = {name.removeprefix(_PARALLEL): tensor for name, tensor in rest.items()}
    return NamedTensors(tensors, notes)


def _contents(path: Path) -> object:
    """What a file holds, as Python's dicts and tensors."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:  # np.load leaves a broken file open
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        return torch_files.load(path)
    except Exception as error:  # on damaged files the libraries raise IndexError, struct.error, zlib.error and more
        _refuse_other(path)
        if isinstance(error, WeightsError):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path}: cannot be read as weights: {first.rstrip('.')}.", "a .safetensors, .npz or torch file of tensors"
        ) from error


def _refuse_other(path: Path) -> None:
    """Say what a file is that could not be read, if it is of a known kind; how it begins may also be by chance, so only then."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        begins = file.read(256)
        for pattern, what, hint in _OTHERS:
            if re.match(pattern, begins, re.IGNORECASE):
                raise WeightsError(f"{path}: {what}.", hint)


def _usual(path: Path, contents: object) -> tuple[Mapping[object, object], tuple[str, ...]]:
    """What holds the weights in a checkpoint, and what was chosen between where there was a choice."""
    notes: list[str] = []
    for _ in range(_DEPTH):
        holders = _holders(contents)
        known = [name for name in (*_AVERAGED, *_WEIGHTS) if name in holders]
        alone = list(holders) if not known and not _has_tensors(contents) and len(holders) == 1 else []
        if not known and not alone:
            break
        name, *others = known or alone
        if others:
            average = ", an average (EMA)," if name in _AVERAGED else ""
            rest = ", ".join(f'"{path.name}#{other}"' for other in others)
            notes.append(f'its weights under "{name}"{average} are taken; {rest} would take others that it holds')
        elif alone:
            notes.append(f'its tensors under "{name}" are taken')
        contents = holders[name]
    return (contents if isinstance(contents, Mapping) else {}), tuple(notes)


def _part(path: Path, contents: object, part: str) -> Mapping[object, object]:
    """What a checkpoint holds under a key, which may be several with dots between."""
    left, inner = part, contents
    while left:
        keys = [str(key) for key in inner] if isinstance(inner, Mapping) else []
        key = next((key for key in keys if left == key or left.startswith(f"{key}.")), None)
        if key is None or not isinstance(inner, Mapping):
            raise WeightsError(f'{path}: has no part "{part}".', *_parts(path, contents))
        inner, left = next(value for name, value in inner.items() if str(name) == key), left[len(key) + 1 :]
    found, _ = _usual(path, inner)
    return found


def _parts(path: Path, contents: object) -> tuple[str, ...]:
    """Lines that list what a file holds."""
    if not isinstance(contents, Mapping):
        return (f"it holds an object of type {type(contents).__name__}",)
    found = [f"it holds: {first_and_more([str(key) for key in contents], _SHOWN)}"] if contents else ["it is empty"]
    holders = [f'"{path.name}#{name}"' for name in _holders(contents)]
    if holders:
        found.append(f"tensors are under some of its keys, which choose them: {first_and_more(holders, _SHOWN)}")
    return tuple(found)


def _holders(contents: object) -> dict[str, Mapping[object, object]]:
    """The dicts in a dict that hold named tensors, or such dicts."""
    if not isinstance(contents, Mapping):
        return {}
    return {
        key: value
        for key, value in contents.items()
        if isinstance(key, str) and isinstance(value, Mapping) and _leads(value, 1)
    }


def _leads(contents: Mapping[object, object], depth: int) -> bool:
    return _has_tensors(contents) or (
        depth < _DEPTH
        and any(
            isinstance(key, str) and isinstance(each, Mapping) and _leads(each, depth + 1) for key, each in contents.items()
        )
    )


def _has_tensors(contents: object) -> bool:
    return isinstance(contents, Mapping) and any(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in contents.items()
    )
