"""Write a data set's images as WebDataset tar shards with an index beside each, and read them again to check them.

The rule: the folder appears when everything in it is written and checked, or not at all. The same images give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit.errors import DataError, TlkitError, readable
from tlkit.plugin import Images, Split, image_kinds, replacing
from tlkit_shards import ShardsOptions, index, places, tar_files
from tlkit_shards.find import MANIFEST

_HEADER = 1024  # bytes that a member takes beside its content, at most
_END = 10_240  # bytes, of zeros at the end of an archive

Progress = Callable[[int, int], None]  # images done, images in all


def write(images: Images, out: Path, size: int, progress: Progress) -> dict[str, Any]:
    """Write shards, their indexes and the file that lists them; return what it holds.

    Each image is a sample of three members: the image file as it is, or an array as PNG; its label (.cls); its class and the name of its file
    (.json). The samples of a split are named by their position in it, and lie in the shards in a random order that is always the same.

    Args:
        images: The data set.
        out: A folder that is not there, or is empty.
        size: Bytes of a shard, at most; one with a single image may be larger.
        progress: Called with the images written.

    Raises:
        DataError: an image cannot be read, or images have several classes.
        TlkitError: the folder is not empty, or cannot be written.
    """
    if any(split.targets.ndim != 1 for split in images.splits.values()):
        raise DataError("shard: images of several classes each are not written.", "shards hold images of one class each")
    _refuse_used(out)
    unfinished = out.with_name(f".{out.name}.unfinished")
    total = sum(len(split.targets) for split in images.splits.values())
    record: dict[str, Any] = {"format": 1, "classes": list(images.classes), "shards": {}}
    done = 0
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for role, split in images.splits.items():
            for number, samples in enumerate(_shards(split, images.classes, size)):
                path = unfinished / f"{role}-{number:06d}.tar"
                record["shards"][path.name] = {"split": role, **_written(path, samples)}
                done += len(samples)
                progress(done, total)
        with replacing(unfinished / MANIFEST) as file:
            file.write((json.dumps(record, indent=2) + "\n").encode())
        unfinished.rename(out)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise TlkitError(f"{out}: cannot be written: {error.strerror or error}.", "another folder, or more room") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return record


_Sample = list[tuple[str, bytes]]  # names of the members and their content


def _shards(split: Split, classes: Sequence[str], size: int) -> Iterator[list[_Sample]]:
    """Yield the samples of one shard after the other."""
    shard: list[_Sample] = []
    taken = _END
    for position in np.random.Generator(np.random.Philox(key=[0, 0])).permutation(len(split.targets)).tolist():
        sample = _sample(split, classes, position)
        bytes_ = sum(len(content) + _HEADER for _, content in sample)
        if shard and taken + bytes_ > size:
            yield shard
            shard, taken = [], _END
        shard.append(sample)
        taken += bytes_
    yield shard


def _sample(split: Split, classes: Sequence[str], position: int) -> _Sample:
    label, name = int(split.targets[position]), f"{position:09d}"
    if split.pixels is not None:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(split.pixels[position])).save(buffer, "PNG")
        content, ending, source = buffer.getvalue(), "png", ""
    else:
        file = split.files[position]
        with readable(file):
            content = file.read_bytes()
        ending, source = _ending(str(file), content), str(file)
    about = {"class": classes[label], "file": os.path.join(os.path.basename(os.path.dirname(source)), os.path.basename(source))}
    return [
        (f"{name}.{ending}", content),
        (f"{name}.cls", str(label).encode()),
        (f"{name}.json", json.dumps(about if source else {"class": classes[label]}).encode()),
    ]


def _ending(name: str, content: bytes) -> str:
    """Return what says an image's format: the suffix of its name, or where that says nothing what Pillow finds."""
    suffix = os.path.splitext(name)[1].lower()
    if image_kinds.kind_of_suffix(suffix) is image_kinds.Kind.IMAGE:
        return suffix[1:]
    try:
        with Image.open(io.BytesIO(content)) as image:
            return (image.format or "img").lower()
    except Exception as error:  # whatever Pillow's decoders raise
        raise DataError(f"{name}: is not an image.", "remove it") from error


def _written(path: Path, samples: Sequence[_Sample]) -> dict[str, Any]:
    """Write a shard and its index; return what is listed of it."""
    with replacing(path) as file, tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for sample in samples:
            for name, content in sample:
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
    found = tar_files.indexed(str(path), places.state(str(path)), ShardsOptions())
    _check(path, samples, found)
    index.write(path.with_name(f"{path.name}{index.BESIDE}"), replace(found, place=path.name))
    return {"images": len(samples), "bytes": path.stat().st_size}


def _check(path: Path, samples: Sequence[_Sample], found: index.Index) -> None:
    """Raise where a shard does not hold what was written to it."""
    names = [sample[0][0].encode() for sample in samples]
    labels = [sample[1][1] for sample in samples]
    digests = b"".join(hashlib.sha256(sample[0][1]).digest() for sample in samples)
    if found.names.tolist() != names or found.labels.tolist() != labels or found.digest.tobytes() != digests:
        raise DataError(f"{path}: does not hold what was written to it.", "is the disk sound? write it again")


def _refuse_used(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TlkitError(f"{out}: is there already, and is not an empty folder.", "a new folder, or remove this one")
    for each in out.parents:
        if each.is_file():
            raise TlkitError(f"{out}: cannot be written: {each} is a file, not a folder.", "another folder")
