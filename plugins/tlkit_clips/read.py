"""Find and read a folder of clips: a sub-folder per class, below train, val and test folders or not.

An image is a frame, "walk/a.mp4#12", a member of its clip. The digests of frames are remembered, so a clip is decoded for them once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from tlkit.errors import DataError, DataMissing, nearest
from tlkit.plugin import DataFiles, ImageFile, Images, Member, Split, Storage, hold_out, recall, remember
from tlkit.reading import digests, video_files
from tlkit_clips import ClipsOptions
from tlkit_folder import layout

_DECODED = 4  # clips whose frames are in memory at a time: frames are asked for clip by clip, by several threads
_SHOWN = 3  # broken clips that a message names


def find(folder: Path, options: ClipsOptions | None = None) -> DataFiles:
    """Return the clips of all class folders, sorted by split, class and name.

    Raises:
        DataMissing: there is no such folder.
        DataError: it has no class folders, or one of them holds no clip.
    """
    if not folder.is_dir():
        raise DataMissing(f"{folder}: there is no such folder.")
    parts = layout.parts(folder, None) or {"train": [folder]}
    clips: list[Path] = []
    for places in parts.values():
        for part in places:
            place, names = layout.class_folders(part)
            for name in names:
                clips += _clips_below(place / name)
    return DataFiles(root=folder, files=tuple(clips))


def read(found: DataFiles, options: ClipsOptions | None = None) -> Images:
    """Return the frames of the clips of each split; classes are the sorted names of the training set's class folders.

    Where the folder has no test set, of each class the max(1, round(test_fraction * n)) clips whose paths below the root have the
    smallest SHA-256 become one. So all frames of a clip are of one split, and a split of the training images keeps them together too.

    Raises:
        DataError: fewer than two classes, a class without training clips, PyAV is not installed, or clips are broken.
    """
    options = options or ClipsOptions()
    splits = _by_class(found)
    classes = tuple(sorted(splits["train"]))
    if len(classes) < 2:
        raise DataError(f"{found.root}: has clips of one class ({', '.join(classes)}), and two are needed.")
    for name, others in splits.items():
        for extra in sorted(others.keys() - set(classes)):
            raise DataError(f'{others[extra][0]}: class "{extra}" of {name} has no training clips.', nearest(extra, classes))
    alone = len(splits) == 1
    if alone:
        splits = _split_off(splits["train"], options.test_fraction, found.root)
    frames = dict(zip(found.files, _frames(found.files, options.frames), strict=True))
    parts = {name: _split(each, classes, frames, found.root) for name, each in splits.items()}
    return Images(classes=classes, splits=parts, test_held_out=alone)


def _clips_below(folder: Path) -> list[Path]:
    clips = [path for path in sorted(folder.rglob("*")) if video_files.is_video(path) and path.is_file()]
    if not clips:
        raise DataError(
            f"{folder}: the class folder holds no clips.",
            f"clips end in {', '.join(video_files.SUFFIXES)}",
            "images in class folders are the data set folder",
        )
    return clips


_Classes = dict[str, list[Path]]


def _by_class(found: DataFiles) -> dict[str, _Classes]:
    """Return split -> class -> clips; one other split beside "train" is "test"."""
    parts = layout.parts(found.root, None) or {"train": [found.root]}
    splits: dict[str, _Classes] = {}
    for role, places in parts.items():
        for part in places:
            place, _ = layout.class_folders(part)
            for clip in found.files:
                if clip.is_relative_to(place):
                    splits.setdefault(role, {}).setdefault(clip.relative_to(place).parts[0], []).append(clip)
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    return splits


def _split_off(classes: _Classes, fraction: float, root: Path) -> dict[str, _Classes]:
    for name, clips in classes.items():
        if len(clips) == 1:
            raise DataError(
                f'{clips[0]}: is the only clip of class "{name}", so no test clip can be split off.',
                "add clips, or make folders train and test and put classes into both",
            )
    named = [(name, clip) for name, clips in classes.items() for clip in clips]
    tested = hold_out([name for name, _ in named], (clip.relative_to(root).as_posix() for _, clip in named), fraction)
    splits: dict[str, _Classes] = {"train": {}, "test": {}}
    for (name, clip), held_out in zip(named, tested, strict=True):
        splits["test" if held_out else "train"].setdefault(name, []).append(clip)
    return splits


@dataclass(frozen=True)
class _Known:
    """A frame: its number in the clip, the size of its content in bytes, and the sha256 of that."""

    number: int
    size: int
    digest: bytes


def _frames(clips: Sequence[Path], count: int) -> Iterator[list[_Known]]:
    """Yield the frames of each clip; every broken clip is told of at once."""
    versions, broken = video_files.versions(), list[DataError]()
    for clip, digest in zip(clips, digests(clips), strict=True):
        key = {"of": "frames of a clip", "clip": digest.hex(), "frames": count, **versions}
        known = recall(key)
        if isinstance(known, list):
            yield [_Known(int(number), int(size), bytes.fromhex(hexadecimal)) for number, size, hexadecimal in known]
            continue
        try:
            found = [_Known(number, len(each), sha256(each).digest()) for number, each in _contents(clip, count).items()]
        except DataError as error:
            broken.append(error)
            found = []
        else:
            remember(key, [[each.number, each.size, each.digest.hex()] for each in found])
        yield found
    if broken:
        first, *others = broken
        shown = [error.problem for error in others[: _SHOWN - 1]]
        left = len(others) - len(shown)
        raise DataError(first.problem, *shown, f"and {left} more clips" if left else "", *first.hints)


def _contents(clip: Path, count: int) -> dict[int, bytes]:
    """Return frame number -> its pixels as a PPM file, which is a short header and the values themselves."""
    return {
        frame.number: b"P6\n%d %d\n255\n" % frame.pixels.shape[1::-1] + frame.pixels.tobytes()
        for frame in video_files.even(clip, count)
    }


@lru_cache(maxsize=_DECODED)
def _remembered(clip: Path, count: int, changed: int) -> dict[int, bytes]:
    """Return `_contents` of a clip that was last changed at a time."""
    return _contents(clip, count)


def _content(clip: Path, count: int, number: int) -> bytes:
    try:
        return _remembered(clip, count, clip.stat().st_mtime_ns)[number]
    except (OSError, KeyError) as error:
        raise DataError(f"{clip}#{number}: cannot be read: {error}.") from error


def _split(classes: _Classes, names: Sequence[str], frames: Mapping[Path, Sequence[_Known]], root: Path) -> Split:
    members, labels, groups, owners, clips = list[ImageFile](), list[int](), list[str](), list[int](), list[Path]()
    for label, name in enumerate(names):
        for clip in classes.get(name, ()):
            shown, known = clip.relative_to(root).as_posix(), frames[clip]
            for frame in known:
                members.append(
                    Member(
                        name=f"{clip}#{frame.number}", size=frame.size, digest=frame.digest,
                        read=partial(_content, clip, len(known), frame.number),
                    )
                )  # fmt: skip
                labels.append(label)
                groups.append(shown)
                owners.append(len(clips))
            clips.append(clip)
    storage = Storage(tuple(map(str, clips)), np.array(owners, np.int32), np.arange(len(members), dtype=np.int64))
    return Split(
        targets=np.array(labels, np.int64), files=tuple(members), groups=np.array(groups), one_answer=True, storage=storage
    )
