"""Read the images of one shard after the other, without labels and without an index: for a pass over all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256

from tlkit.errors import DataError
from tlkit.plugin import Member
from tlkit_shards import ParquetOptions, find, index, parquet_files, places, tar_files

_PARQUET = ".parquet"


def shards_of(place: str) -> list[tuple[str, str]]:
    """Return the shards that a folder, a pattern or an address names, each with its size and time, or behind an address its ETag.

    Raises:
        DataMissing: there are none.
        DataError: the address does not answer.
    """
    where = place if places.is_address(place) else os.path.abspath(place)
    listed = find.listed(where)
    states = [places.state(each) for each in listed]
    return [(each, f"{state.size} bytes {state.version}".strip()) for each, state in zip(listed, states, strict=True)]


def digest_of(place: str) -> str:
    """Return a digest of the images of a shard: from the index that `tlkit shard` wrote beside it, else by reading it.

    Raises:
        DataError: it is truncated, cannot be read, or has another size than the index beside it says.
    """
    written = None if _is_parquet(place) else index.beside(place, places.state(place))
    if written is None or index.is_newer_than_its_index(place):
        return index.digest((name, sha256(content).digest()) for name, content in _contents(place))
    names = (name.decode() for name in written.names.tolist())
    return index.digest(zip(names, (each.tobytes() for each in written.digest), strict=True))


def images_of(place: str) -> Iterator[Member]:
    """Yield the images of a shard in the order in which they lie in it.

    Raises:
        DataError: it is truncated, cannot be read, or an image is another than the index beside it says.
    """
    written = None if _is_parquet(place) else index.beside(place, places.state(place))
    known = {} if written is None else dict(zip(written.names.tolist(), written.digest, strict=True))
    for name, content in _contents(place):
        digest = sha256(content).digest()
        if written is not None and (name.encode() not in known or known.pop(name.encode()).tobytes() != digest):
            raise index.changed(place, name)
        yield Member(f"{place}/{name}", len(content), digest, lambda content=content: content)  # type: ignore[misc]  # mypy infers no type of a default
    if known:
        raise index.changed(place, next(iter(known)).decode())


def _is_parquet(place: str) -> bool:
    return place.lower().endswith(_PARQUET)


def _contents(place: str) -> Iterator[tuple[str, bytes]]:
    return _parquet(place) if _is_parquet(place) else tar_files.images(place)


def _parquet(place: str) -> Iterator[tuple[str, bytes]]:
    column = ParquetOptions().image
    with parquet_files.opened(place) as file:
        if column not in file.schema_arrow.names:
            raise DataError(f"{place}: has no column {column}.")
        for group in range(file.num_row_groups):
            for row, (content, name) in enumerate(parquet_files.images_of(file, group, column)):
                yield parquet_files.name_of(group, row, name), content or b""
