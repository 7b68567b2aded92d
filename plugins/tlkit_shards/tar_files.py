"""Read the samples of a WebDataset tar archive: members of one name with different endings, one after the other.

Source: https://github.com/webdataset/webdataset, `base_plus_ext` in webdataset/tariterators.py.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

from tlkit.errors import DataError
from tlkit.plugin import image_kinds
from tlkit_shards import ShardsOptions, places
from tlkit_shards.index import Found, Index, made
from tlkit_shards.places import State

_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # all up to the first point in a file's name, and the rest
_LABEL, _TABLE = "cls", "json"
_BLOCK = 512  # bytes, POSIX.1-2001 pax
_CHUNK = 1 << 20


def indexed(place: str, state: State, options: ShardsOptions) -> Index:
    """Read an archive once, and return its index.

    Raises:
        DataError: it is truncated or no tar archive, or a sample lacks a member.
    """
    return made(place, state, _found(place, options))


def images(place: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each image in an archive, which needs no label.

    Raises:
        DataError: it is truncated, or no tar archive.
    """
    for name, _, content in _members(place):
        match = _name(name)
        if match is not None and _is_image(match.group(2).lower()):
            yield name, content


def _found(place: str, options: ShardsOptions) -> Iterator[Found]:
    sample: dict[str, tuple[int, bytes]] = {}
    current = ""
    for name, begin, content in _members(place):
        match = _name(name)
        if match is None:
            continue
        key, ending = match.group(1), match.group(2).lower()
        if key != current and sample:
            yield _image(place, current, sample, options)
            sample = {}
        current = key
        if ending in sample:
            raise DataError(f"{place}: {key} has two members that end in {ending}.", "each sample has a name of its own")
        sample[ending] = begin, content
    if sample:
        yield _image(place, current, sample, options)


def _name(name: str) -> re.Match[str] | None:
    """Return a member's key and ending; None of one that is no part of a sample."""
    return None if os.path.basename(name).startswith(("__", ".")) else _NAME.match(name)


def _image(place: str, key: str, sample: dict[str, tuple[int, bytes]], options: ShardsOptions) -> Found:
    images = [ending for ending in sample if ending == options.image or (not options.image and _is_image(ending))]
    if not images:
        wanted = options.image or "jpg, png or another kind of image"
        raise DataError(f"{place}: {key} has no image, only {', '.join(sorted(sample))}.", f"a member {key}.{wanted}")
    if len(images) > 1:
        endings = ", ".join(sorted(images))
        raise DataError(f"{place}: {key} has several images: {endings}.", f'data.options.image = "{sorted(images)[0]}"')
    begin, content = sample[images[0]]
    return Found(f"{key}.{images[0]}", _label(place, key, sample, options), begin, content)


def _label(place: str, key: str, sample: dict[str, tuple[int, bytes]], options: ShardsOptions) -> str:
    if _LABEL in sample and not options.label:
        label: object = sample[_LABEL][1].decode(errors="replace").strip()
    elif _TABLE in sample:
        name = options.label or "label"
        try:
            table = json.loads(sample[_TABLE][1])
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: {key}.{_TABLE} is no JSON: {error}.") from error
        if not isinstance(table, dict) or name not in table:
            keys = ", ".join(map(str, table)) if isinstance(table, dict) else "none"
            if options.label:
                raise DataError(f'{place}: {key}.{_TABLE} has no key "{name}".', f"keys: {keys}", 'data.options.label = "KEY"')
            raise DataError(
                f'{place}: {key} has no member {key}.{_LABEL}, and {key}.{_TABLE} has no key "{name}".',
                f"add {key}.{_LABEL} if other samples have such a member",
                f'or name a key that holds the class in every sample, data.options.label = "KEY"; keys: {keys}',
            )
        label = table[name]
    else:
        raise DataError(
            f"{place}: {key} has no label, only {', '.join(sorted(sample))}.",
            f"a member {key}.{_LABEL}, or {key}.{_TABLE} with a label",
        )
    if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
        raise DataError(f"{place}: {key} has the label {label!r}.", "one class, as a whole number or a name")
    return str(label)


def _is_image(ending: str) -> bool:
    return image_kinds.kind_of_suffix(f".{ending.rpartition('.')[2]}") is image_kinds.Kind.IMAGE


def _members(place: str) -> Iterator[tuple[str, int, bytes]]:
    """Yield name, first byte and content of each file in an archive, which is read once from beginning to end."""
    needed = 0
    with places.stream(place) as raw:
        counted = _Counted(raw)
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", counted), mode="r|") as archive:
                for member in archive:
                    opened = archive.extractfile(member) if member.isfile() else None
                    if opened is not None:
                        content = opened.read()
                        if len(content) != member.size:
                            raise tarfile.ReadError("unexpected end of data")
                        yield member.name, member.offset_data, content
                    needed = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
            while counted.read(_CHUNK):
                pass
        except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise _unreadable(place, counted.count, error) from error
        if counted.count < needed + _BLOCK:  # an archive ends with blocks of zeros
            raise _unreadable(place, counted.count, EOFError("it has no end"))


def _unreadable(place: str, count: int, error: Exception) -> DataError:
    text = str(error) or type(error).__name__
    truncated = isinstance(error, EOFError) or any(
        word in text for word in ("end of data", "end of file", "end-of-stream", "truncated")
    )
    if truncated:
        return DataError(f"{place}: is truncated after {count:,} bytes.", "copy or download it again")
    return DataError(f"{place}: cannot be read as a tar archive: {text}.")


class _Counted:
    """Counts the bytes that are read from a file.

    Args:
        file: Read from beginning to end.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.count = file, 0

    def read(self, size: int) -> bytes:
        """Return at most so many bytes; none at the end."""
        content = self._file.read(size)
        self.count += len(content)
        return content
