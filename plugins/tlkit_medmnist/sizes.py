"""Refuse an archive of arrays whose headers claim more than the file can hold, before anything is allocated."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from tlkit.errors import DataError

_PACKED = 1032  # times smaller than its content is what deflate packs, at most: zlib.net/zlib_tech.html
_GIB = 2**30  # bytes


def refuse_false(path: Path) -> None:
    """Refuse a .npz file with an array that claims more bytes than its part of the file can hold.

    Raises:
        DataError: with the size that it claims.
        ValueError: a header is none of an array.
        BadZipFile: the file is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(file)
            claimed = math.prod(shape) * kind.itemsize
            held = min(entry.file_size, _PACKED * entry.compress_size)
            if claimed > held:
                name = entry.filename.removesuffix(".npy")
                raise DataError(
                    f"{path}: is damaged, or made to fill the memory: {name} claims {shape} {kind}, {claimed / _GIB:,.1f} GiB, and its "
                    f"{entry.compress_size:,} bytes hold {held:,} at most.",
                    "remove it and fetch it again",
                )
