"""Read TOML files and archives of arrays of a run. Whatever a damaged one makes its library raise is an OSError or a ValueError here."""

from __future__ import annotations

import contextlib
import lzma
import math
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import reason

_PACKED = 1032  # bytes that a byte of an archive stands for at most: https://zlib.net/zlib_tech.html


def toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    return parsed(path.read_text(encoding="utf-8"))


def parsed(text: str) -> dict[str, Any]:
    """Return the tables of a text in TOML.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its tables are nested too deeply") from None


@contextlib.contextmanager
def arrays(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an archive of arrays (.npz); what is read of it in the block raises the same errors. Nothing is unpickled.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or lacks an array that is asked for.
    """
    try:
        with path.open("rb") as file:  # np.load leaves a broken file open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is no archive of arrays")
            with archive:
                yield archive
    except (
        KeyError,
        EOFError,
        RuntimeError,
        OverflowError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
    ) as error:  # RecursionError and NotImplementedError too
        raise ValueError(reason(error)) from error
    except MemoryError as error:
        if _asked_for(error) > _PACKED * path.stat().st_size:
            raise ValueError(f"an array has another size than the file can hold: {reason(error)}") from error
        raise


def _asked_for(error: MemoryError) -> int:
    """Return the bytes that numpy did not get; 0 where another library raised."""
    shape, dtype = getattr(error, "shape", ()), getattr(error, "dtype", None)
    return math.prod(shape) * dtype.itemsize if isinstance(dtype, np.dtype) else 0
