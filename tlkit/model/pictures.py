"""Pictures as a caller has them, to files and uint8 arrays: paths, folders, PIL images, numpy arrays and tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tlkit.engine.images import decode
from tlkit.errors import DataError, TlkitError
from tlkit.plugin import Convention
from tlkit.sources import band_files, image_files, orientation

Pixels = NDArray[Any]  # (H, W, 3) uint8 RGB, or (H, W, bands) uint8, uint16 or float32
Picture = Path | Pixels

WANTED = (
    "images: a path, a folder, PIL images, arrays (H, W, 3) or (N, H, W, 3), tensors (3, H, W) or (N, 3, H, W); "
    "uint8, or floats from 0 to 1"
)


def read(given: object, *, where: str, bands: int | None = None) -> Sequence[Picture] | Pixels:
    """Return pictures as files and arrays (H, W, 3) uint8 RGB, or all as one array (N, H, W, 3); one picture is one of a list.

    Floats from 0 to 1 are multiplied by 255 and rounded. A folder is every image file in it and below it, sorted.

    Args:
        given: The pictures.
        where: Begins every message.
        bands: How many bands they have, in the place of three colours; their values are taken as they are.

    Raises:
        DataError: they are of another kind, shape or range; the message says what is wanted.
    """
    given = unwrapped(given)
    if isinstance(given, np.ndarray | torch.Tensor):
        pixels = array(given, where=where, bands=bands)
        return [pixels] if pixels.ndim == 3 else pixels
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return [_one(each, where=where, bands=bands) for each in given]
    if isinstance(given, str | os.PathLike) and os.path.isdir(given):
        return image_files.below(Path(given), where=where, bands=bands is not None)
    return [_one(given, where=where, bands=bands)]


def unwrapped(given: object) -> object:
    """Return a column of a table, or an array of another library, as NumPy has it; of paths as a list."""
    if not isinstance(given, np.ndarray | torch.Tensor | type) and hasattr(given, "__array__"):
        given = np.asarray(given)
    if isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in "UO":
        return given.tolist()
    return given


def in_numpy(given: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as NumPy has it, which knows no bfloat16."""
    return (given.float() if given.dtype == torch.bfloat16 else given).detach().cpu().numpy()


def scaled(own: Convention, trained: Convention | None, found: Sequence[Picture] | Pixels) -> Convention:
    """Return the preprocessing of images of bands for prediction: of the type that the network was trained on, or else of these images.

    Args:
        own: The preprocessing of the model.
        trained: That of the weights; None where it is not known.
        found: What is predicted.

    Raises:
        TlkitError: the mean and the standard deviation of the bands are not known.
    """
    if not own.mean:
        raise TlkitError(
            "Model: the mean and the standard deviation of the bands are not known yet.",
            "fit measures them on its training images; or Model(.., input={'mean': [..], 'std': [..]})",
        )
    if (trained is not None and trained.channels == "bands") or not len(found):
        return own
    first = found[0]
    if isinstance(first, Path):
        return replace(own, values=band_files.check_values(first, band_files.header(first)))
    return replace(own, values=band_files.values_of(first))


def array(given: NDArray[Any] | torch.Tensor, *, where: str, bands: int | None = None) -> Pixels:
    """Return an array (H, W, 3) or (N, H, W, 3), or a tensor (3, H, W) or (N, 3, H, W), as uint8 RGB with the channels last.

    Raises:
        DataError: it is of another shape or range.
    """
    if bands is not None:
        return _of_bands(given, bands, where=where)
    if isinstance(given, torch.Tensor):
        values = in_numpy(given)
        if values.ndim not in (3, 4) or values.shape[-3] != 3:
            last = values.ndim in (3, 4) and values.shape[-1] == 3
            hint = f"x.permute({'2, 0, 1' if values.ndim == 3 else '0, 3, 1, 2'})" if last else ""
            raise _refused(where, f"a tensor has shape {tuple(given.shape)}, not (N, 3, H, W).", hint)
        values = np.moveaxis(values, -3, -1)
    else:
        values = given
        if values.ndim not in (3, 4) or values.shape[-1] != 3:
            raise _refused(where, f"an array has shape {values.shape}, not (N, H, W, 3).", _shape_hint(values))
    if 0 in values.shape[-3:]:
        raise _refused(where, f"an array has shape {tuple(given.shape)}: there is no pixel in it.")
    return np.ascontiguousarray(_bytes(values, where=where))


def rgb(image: Image.Image) -> Pixels:
    """Return a PIL image as (H, W, 3) uint8 RGB, turned as its EXIF says, as a file of it would be decoded.

    Raises:
        DataError: its pixels cannot be turned into RGB.
    """
    try:
        return np.asarray(orientation.upright(decode.rgb(image), orientation.of(image)))
    except (OSError, ValueError) as error:
        raise DataError(f"images: a PIL image cannot be used: {error}.") from error


def stacked(pictures: Iterable[Pixels]) -> NDArray[Any]:
    """Return arrays (H, W, 3) as one (N, H, W, 3), or where their sizes differ as an object array (N,) of them."""
    listed = list(pictures)
    if len({picture.shape for picture in listed}) == 1:
        return np.stack(listed)
    ragged = np.empty(len(listed), dtype=object)
    for index, picture in enumerate(listed):
        ragged[index] = picture
    return ragged


def _of_bands(given: NDArray[Any] | torch.Tensor, bands: int, *, where: str) -> Pixels:
    """Return an array (H, W, bands) or (N, H, W, bands), or a tensor with the bands before height and width, with the bands last."""
    tensor = isinstance(given, torch.Tensor)
    values = np.moveaxis(in_numpy(given), -3, -1) if isinstance(given, torch.Tensor) and given.ndim > 2 else given
    wanted = f"(N, H, W, {bands}), or as tensors (N, {bands}, H, W), of uint8, uint16 or float32; or files of bands"
    if not isinstance(values, np.ndarray) or values.ndim not in (3, 4) or values.shape[-1] != bands or 0 in values.shape[-3:]:
        kind = "a tensor" if tensor else "an array"
        raise DataError(f"{where}: {kind} has shape {tuple(given.shape)}, and the images have {bands} bands.", wanted)
    if values.dtype.name not in band_files.VALUES:
        raise DataError(f"{where}: an array is of type {values.dtype}.", wanted)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{where}: an array has values that are not finite numbers.")
    return np.ascontiguousarray(values)


def _one(given: object, *, where: str, bands: int | None) -> Picture:
    if isinstance(given, str) and "://" in given:
        raise DataError(f"{where}: {given}: is an address.", "download the image first; a path, or a PIL image")
    if isinstance(given, str | os.PathLike):
        return Path(given)
    if isinstance(given, Image.Image) and bands is None:
        return rgb(given)
    if isinstance(given, np.ndarray | torch.Tensor):
        pixels = array(given, where=where, bands=bands)
        if pixels.ndim != 3:
            apart = "batches are put together first, np.concatenate(batches); images and labels are two arguments, x and y"
            raise _refused(where, f"one in a list has shape {tuple(given.shape)}, and is to be one picture.", apart)
        return pixels
    if isinstance(given, bytes) or hasattr(given, "read"):
        opened = "PIL.Image.open(io.BytesIO(data))" if isinstance(given, bytes) else "PIL.Image.open(file)"
        raise _refused(where, f"one of the images is of type {type(given).__name__}.", opened)
    pair = isinstance(given, tuple | list) and len(given) == 2
    hint = "of pairs (image, label): x, y = zip(*pairs)" if pair else ""
    if not pair and (hasattr(given, "__iter__") or hasattr(given, "__getitem__")):
        hint = "a list of them: list(x); batches are put together first, without labels: np.concatenate(list(x))"
    raise _refused(where, f"one of the images is of type {type(given).__name__}.", hint)


def _bytes(values: NDArray[Any], *, where: str) -> Pixels:
    """Return whole numbers 0 to 255 or floats 0 to 1 as uint8."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "fiu":
        raise _refused(where, f"an array is of type {values.dtype}.")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if values.dtype.kind in "iu":
        if low < 0 or high > 255:
            raise _refused(where, f"an array of {values.dtype} has values from {low:g} to {high:g}, not 0 to 255.")
        return values.astype(np.uint8)
    if not np.isfinite([low, high]).all():
        raise _refused(where, "an array has values that are not finite numbers.")
    if np.rint(low * 255) < 0 or np.rint(high * 255) > 255:
        raise _out_of_range(low, high, where=where)
    if low < 0 or high > 1:  # by less than the rounding to bytes takes away
        values = np.clip(values, 0, 1)
    scaled: Pixels = np.rint(values * 255).astype(np.uint8)
    return scaled


def _out_of_range(low: float, high: float, *, where: str) -> DataError:
    """Return the error for floats that are not 0 to 1, with what they may be instead."""
    found = f"an array of floats has values from {low:.4g} to {high:.4g}"
    raw = "give the pixels as they are; tlkit normalises them as the weights want"
    if low > -0.5 and high < 1.5:
        overshot = "if an interpolation overshot: np.clip(x, 0, 1)"
        return _refused(where, f"{found}, not 0 to 1.", overshot, *([f"if it is normalised already: {raw}"] if low < 0 else []))
    if low < 0:
        return _refused(where, f"{found}: it is normalised already.", raw)
    return _refused(
        where, f"{found}, not 0 to 1.", 'if they are pixels from 0 to 255: x.astype("uint8")' if high <= 255 else ""
    )


def _shape_hint(values: Pixels) -> str:
    shape = values.shape
    if values.dtype.kind in "UO":
        return 'of a table its columns: x = table["path"], y = table["label"]'
    if len(shape) == 4 and shape[1] == 3:
        return "channels are last in an array: x.transpose(0, 2, 3, 1)"
    if len(shape) == 3 and shape[0] != 3:
        return "for grey images: np.repeat(x[..., None], 3, axis=-1)"
    if len(shape) == 4 and shape[-1] == 1:
        return "for grey images: np.repeat(x, 3, axis=-1)"
    if len(shape) == 3 and shape[0] == 3:
        return "channels are last in an array: x.transpose(1, 2, 0)"
    if len(shape) == 4 and shape[-1] == 4:
        return "without transparency: x[..., :3]"
    return ""


def _refused(where: str, problem: str, *hints: str) -> DataError:
    return DataError(f"{where}: {problem}", *hints, WANTED)
