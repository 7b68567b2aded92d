"""Write embeddings of images to a file, .npz or .parquet. Imports no torch."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit import files
from tlkit.errors import TlkitError, UsageError, writable

SUFFIXES = (".npz", ".parquet")
_SOURCE = b"tlkit"  # key of the schema's metadata


def check(path: Path) -> None:
    """Raise TlkitError where a file of this name cannot be written, before anything is computed."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path}: has no suffix that says its format.", f"one of: {', '.join(SUFFIXES)}", "only of shards it is a folder"
        )
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise TlkitError(f"{path}: needs pyarrow, which is not installed.", "pip install 'tlkit[parquet]', or a file x.npz")


def source(path: Path) -> dict[str, Any]:
    """Return what `write` was told a parquet file is of; {} where it was told nothing, or the file is damaged."""
    from pyarrow import ArrowException, parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
        return dict(json.loads(metadata[_SOURCE]))
    except (OSError, ArrowException, LookupError, ValueError, TypeError):
        return {}


def write(
    path: Path, images: Sequence[str], embeddings: NDArray[np.float32], *, source: Mapping[str, Any] | None = None
) -> None:
    """Write a file: the images, and their embeddings (N, features), in the same order.

    Args:
        path: .npz with the arrays `images` and `embeddings`, or .parquet with the columns `image` and `embedding`.
        images: Their paths.
        embeddings: (N, features).
        source: What they are of, kept in the metadata of a parquet file.

    Raises:
        TlkitError: it cannot be written.
    """
    check(path)
    with writable(path, "another file: --out FILE"), files.replacing(path) as file:
        if path.suffix.lower() == ".npz":
            np.savez(file, allow_pickle=False, images=np.array(images, dtype=np.str_), embeddings=embeddings)
            return
        import pyarrow
        from pyarrow import parquet

        column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(embeddings.reshape(-1)), embeddings.shape[1])
        table = pyarrow.table({"image": pyarrow.array(list(images), pyarrow.string()), "embedding": column})
        if source is not None:
            table = table.replace_schema_metadata({_SOURCE: json.dumps(dict(source))})
        parquet.write_table(table, file)
