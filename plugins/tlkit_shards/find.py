"""Find the files of a data set in shards, and index them.

The rule: `find` writes one small file that names each file and its index, and `read` works from that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import DataError, DataMissing, first_few, writable
from tlkit.plugin import DataFiles, cache_folder, replacing
from tlkit_folder.layout import role_of
from tlkit_shards import ParquetOptions, ShardsOptions, index, parquet_files, places, tar_files
from tlkit_shards.index import Index
from tlkit_shards.places import State

MANIFEST = "shards.json"  # that `tlkit shard` writes beside its shards
BUFFER = 10_000  # images that are shuffled at a time where files cannot be read from any position
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_PARQUET = ".parquet"
_ROLES = ("train", "validation", "test")
_THREADS = 8  # files that are indexed at a time

_Make = Callable[[str, State], Index]


def find_shards(path: Path | str, options: ShardsOptions | None = None) -> DataFiles:
    """Find and index tar shards.

    Raises:
        DataMissing: there are none.
        DataError: one of them cannot be read, lacks a member, or has changed since `tlkit shard` wrote it.
    """
    options = options or ShardsOptions()
    return _find(path, options, kind="tar", suffixes=_TAR, reading=_reading(options), make=_make(options))


def find_parquet(path: Path | str, options: ParquetOptions | None = None) -> DataFiles:
    """Find and index parquet files.

    Raises:
        DataMissing: there are none.
        DataError: one of them cannot be read, or lacks a column.
    """
    options = options or ParquetOptions()
    return _find(path, options, kind="parquet", suffixes=(_PARQUET,), reading=_reading(options), make=_make(options))


def verify(found: DataFiles, options: ShardsOptions | ParquetOptions) -> None:
    """Read every file again, and compare it with its index; of one that is another the index is forgotten.

    Raises:
        DataError: a file holds other images or labels than its index says, though its size and time are the same.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        problems = [each for each in pool.map(lambda kept: index.check(kept, _make(options)), found.files[1:]) if each]
    if problems:
        raise problems[0]


def _reading(options: ShardsOptions | ParquetOptions) -> str:
    """Return how images and labels are called, in words that tell one way of reading from another; "" for that of `tlkit shard`."""
    if isinstance(options, ParquetOptions):
        return f"parquet {options.image!r} {options.label!r}"
    return "" if not (options.image or options.label) else f"tar {options.image!r} {options.label!r}"


def _make(options: ShardsOptions | ParquetOptions) -> _Make:
    if isinstance(options, ParquetOptions):
        return partial(parquet_files.indexed, options=options)
    return partial(tar_files.indexed, options=options)


def listed(where: str) -> list[str]:
    """Return the shards and parquet files that a folder, a pattern or an address names, of all splits.

    Raises:
        DataMissing: there are none.
    """
    parts, _ = _parts(where, ShardsOptions(), (*_TAR, _PARQUET))
    return [place for role in _ROLES for place in parts.get(role, ())]


def _find(
    path: Path | str,
    options: ShardsOptions | ParquetOptions,
    *,
    kind: str,
    suffixes: tuple[str, ...],
    reading: str,
    make: _Make,
) -> DataFiles:
    where = str(path) if isinstance(path, str) else os.path.abspath(path)
    parts, classes = _parts(where, options, suffixes)
    every = [place for listed in parts.values() for place in listed]
    _refuse_doubles(every)
    with ThreadPoolExecutor(_THREADS) as pool:
        answers = list(pool.map(lambda place: index.of_file(place, reading, make), every))
    kept = dict(zip(every, answers, strict=True))
    seekable = all(found.state.seekable for _, found in answers) or kind == "parquet"
    buffer = options.buffer or (None if seekable else BUFFER)
    classes = tuple(options.classes) or classes or _named({place: each.classes for place, (_, each) in kept.items()})
    record = {
        "kind": kind, "root": where, "classes": list(classes), "seekable": seekable, "buffer": buffer,
        "column": options.image if kind == "parquet" else "",
        "parts": {role: [str(kept[place][0]) for place in listed] for role, listed in parts.items()},
    }  # fmt: skip
    content = _content(record, {role: [kept[place][1] for place in listed] for role, listed in parts.items()})
    table = _kept(record)
    return DataFiles(
        root=table.parent if places.is_address(where) else Path(where),
        files=(table, *(found for found, _ in answers)),
        content=content,
    )


def _parts(
    where: str, options: ShardsOptions | ParquetOptions, suffixes: tuple[str, ...]
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return the files of each split, and the names of the classes where `tlkit shard` wrote them."""
    if where.lower().endswith(suffixes) or "{" in where or "*" in os.path.basename(where):
        parts, folder, classes = {"train": places.expanded(where)}, places.parent(where), tuple[str, ...]()
        manifest = None
    else:
        folder, manifest = where, _manifest(where)
        parts, classes = manifest if manifest is not None else (_by_name(where, suffixes), ())
    for role, pattern in (("validation", options.validation), ("test", options.test)):
        if pattern:
            parts[role] = places.expanded(places.joined(folder, pattern))
    return {role: parts[role] for role in _ROLES if parts.get(role)}, classes


def _manifest(folder: str) -> tuple[dict[str, list[str]], tuple[str, ...]] | None:
    """Return what `tlkit shard` wrote of its shards; None where there is no such file.

    Raises:
        DataError: it is damaged, or cannot be read. Whether the shards are those that it lists is found when they are indexed.
    """
    place = places.joined(folder, MANIFEST)
    content = places.whole(place)
    if content is None:
        return None
    try:
        record: dict[str, Any] = json.loads(content)
        parts: dict[str, list[str]] = {}
        for name, shard in record["shards"].items():
            parts.setdefault(str(shard["split"]), []).append(places.joined(folder, str(name)))
        return parts, tuple(map(str, record["classes"]))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{place}: is damaged: {error}.", "tlkit shard writes it anew") from error


def _by_name(folder: str, suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the files of each split by their names, or by those of the folders that they lie in."""
    listed = places.names_in(folder, suffixes)
    if not listed:
        raise DataMissing(
            f"{folder}: holds no file that ends in {suffixes[0]}.",
            f'a folder of such files, or a pattern: "images-{{000..099}}{suffixes[0]}"',
        )
    parts: dict[str, list[str]] = {}
    unclear = []
    for place in listed:
        name = os.path.basename(place)
        role = _role(name) or (None if places.parent(place) == folder else role_of(os.path.basename(places.parent(place))))
        parts.setdefault(role or "train", []).append(place)
        unclear += [] if role else [name]
    if unclear and len(parts) > 1 and len(unclear) < len(parts["train"]):
        raise DataError(
            f"{folder}: the names do not say of which split {first_few(unclear)} are.",
            "train-000000, validation-000000 and test-000000, or patterns: data.options.path, validation and test",
        )
    if "train" not in parts:
        raise DataError(
            f"{folder}: holds no training images, only {' and '.join(parts)}.", "data.options.path names the training files"
        )
    return parts


def _role(name: str) -> str | None:
    """Return the split that the beginning of a file's name says: "train-00000-of-00004.parquet"."""
    return role_of(name.partition(".")[0].partition("-")[0].partition("_0")[0])


def _refuse_doubles(listed: Sequence[str]) -> None:
    seen: set[str] = set()
    for place in listed:
        if place in seen:
            raise DataError(f"{place}: is named twice.", "each file belongs to one split, once")
        seen.add(place)


def _named(classes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names of the classes that the files have; () where they have none.

    Raises:
        DataError: two files name other classes, or in another order, so that a number is not the same class in both.
    """
    known = {place: names for place, names in classes.items() if names}
    first = next(iter(known), "")
    for place, names in known.items():
        if names != known[first]:
            raise DataError(
                f"{place}: names the classes {first_few(names)}, and {first} names {first_few(known[first])}.",
                "write both with the same classes in one order",
            )
    return known.get(first, ())


def _content(record: Mapping[str, Any], parts: Mapping[str, Sequence[Index]]) -> str:
    """Return a digest of the images, their names and their labels; of their places too where these decide the order."""
    total = hashlib.sha256(json.dumps([record["classes"], record["buffer"]]).encode())
    for role, indexes in parts.items():
        names = np.concatenate([each.names for each in indexes])
        order = np.argsort(names, kind="stable") if record["buffer"] is None else np.arange(len(names))
        labels, digests = np.concatenate([each.labels for each in indexes]), np.concatenate([each.digest for each in indexes])
        total.update(f"{role}\0{len(names)}\0{record['buffer'] and [len(each) for each in indexes]}\0".encode())
        for column in (names, labels, digests):
            total.update(f"{column.dtype}\0".encode() + np.ascontiguousarray(column[order]).tobytes())
    return total.hexdigest()


def _kept(record: Mapping[str, Any]) -> Path:
    """Write what `read` needs into the cache, where it is not there."""
    text = json.dumps(record, indent=2) + "\n"
    path = cache_folder() / index.FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            return path
    with writable(path.parent, "TLKIT_CACHE names another folder", kind=DataError), replacing(path) as file:
        file.write(text.encode())
    return path
