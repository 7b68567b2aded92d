"""Read images and labels from a parquet file of the Hugging Face layout: a column of image bytes, and one of classes.

Source: https://huggingface.co/docs/datasets/image_dataset, the feature Image; its names of classes are in the schema's metadata.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from tlkit.errors import DataError, first_few, nearest, reason
from tlkit_shards import ParquetOptions, places
from tlkit_shards.index import Found, Index, made
from tlkit_shards.places import State


def indexed(place: str, state: State, options: ParquetOptions) -> Index:
    """Read a file once, and return its index.

    Raises:
        DataError: it is truncated or no parquet file, lacks a column, or a row has no image or no class.
    """
    with opened(place) as file:
        _check_columns(place, file.schema_arrow.names, options)
        return made(place, state, _found(place, file, options), _classes(file.schema_arrow.metadata, options.label))


@contextlib.contextmanager
def opened(place: str) -> Iterator[Any]:
    """Open a parquet file, on a disk or behind an address; pyarrow has no types.

    Raises:
        DataError: it cannot be read.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(f"{place}: needs pyarrow, which is not installed.", "pip install 'tlkit[parquet]'") from error
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(places.stream(place)) if places.is_address(place) else place
            yield stack.enter_context(parquet.ParquetFile(source))
        except (ArrowException, OSError) as error:
            raise DataError(
                f"{place}: cannot be read as a parquet file: {reason(error)}.", "truncated? copy or download it again"
            ) from error


def images_of(file: Any, group: int, column: str) -> list[tuple[bytes | None, str]]:
    """Return content and name of the images in a row group; None where a row has none."""
    values = file.read_row_group(group, columns=[column]).column(0).to_pylist()
    return [(each.get("bytes"), each.get("path") or "") if isinstance(each, dict) else (each, "") for each in values]


def name_of(group: int, row: int, name: str) -> str:
    """Return what the image in a row is called."""
    return f"{group:05d}-{row:06d}{'-' if name else ''}{name}"


def _found(place: str, file: Any, options: ParquetOptions) -> Iterator[Found]:
    for group in range(file.num_row_groups):
        labels = file.read_row_group(group, columns=[options.label]).column(0).to_pylist()
        for row, ((content, name), label) in enumerate(zip(images_of(file, group, options.image), labels, strict=True)):
            where = f"{place}: row {row} of row group {group}"
            if not isinstance(content, bytes) or not content:
                raise DataError(f"{where}: has no image in the column {options.image}.", "bytes, not the path of another file")
            if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
                raise DataError(
                    f"{where}: has the label {label!r} in the column {options.label}.", "one class, as a whole number or a name"
                )
            yield Found(name_of(group, row, name), str(label), row, content, group)


def _check_columns(place: str, names: list[str], options: ParquetOptions) -> None:
    for option, column in (("image", options.image), ("label", options.label)):
        if column not in names:
            raise DataError(
                f"{place}: has no column {column}.",
                f"columns: {first_few(names)}",
                nearest(column, names),
                f'data.options.{option} = "COLUMN"',
            )


def _classes(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """Return the names of the classes as the library `datasets` keeps them; () where there are none."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (LookupError, ValueError, TypeError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
