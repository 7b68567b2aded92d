"""Refuse a target of [adapt] whose images are the source's, or copies of these. Imports no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from tlkit import file_digests, units
from tlkit.errors import DataError
from tlkit.plans.resolved import Resolved
from tlkit.plugin import ImageFile, Images, members
from tlkit.plugin.members import Subset

NEARLY_ALL = 0.9  # of the target's images: no two domains have so many in common


@dataclass(frozen=True)
class Copies:
    """How many files of a target are the source's, or copies of these.

    Attributes:
        same: They.
        target: Files of the target.
        source: Files of the source.
        unread: Bytes of files that may be copies and were not read.
    """

    same: int
    target: int
    source: int
    unread: int = 0

    def words(self, name: str, of: str = "the source") -> str:
        """Say it, of a target of this name."""
        if self.same < self.target:
            return f"{self.same:,} of {self.target:,} images of {name} are those of {of}"
        if self.target < self.source:
            return f"all {self.target:,} images of {name} are among the {self.source:,} of {of}"
        return f"{name} has the same images as {of}"


# What `refuse` found, as long as both data sets are in memory: they are read again where a file changes. Beside it which digests of files
# were remembered then: with others fewer files may be unread.
_COMPARED: WeakKeyDictionary[Images, WeakKeyDictionary[Images, tuple[Copies, str]]] = WeakKeyDictionary()


def refuse(resolved: Resolved, name: str, source: Images, target: Images, *, at_most: float = math.inf) -> tuple[str, ...]:
    """Refuse a target nearly all of whose images are the source's, or copies of these: it is no other domain.

    A few that both have are an overlap, which is told, left out or refused as data.on_overlap says. With `shrink` the same images
    are another domain: their low resolution.

    Args:
        resolved: The arm.
        name: The table's in [also].
        source: The images of [data].
        target: Those of the target.
        at_most: Bytes that are read, as for `copies`.

    Returns:
        A line that says so, where they may be copies and were too large to be read.

    Raises:
        DataError: the target has hardly an image of its own.
    """
    if resolved.adaptation_to(name) is None or resolved.arm.also[name].shrink is not None:
        return ()
    own, given = resolved.arm.data, resolved.also[name]
    if any(len(split.files) for images in (source, target) for split in images.splits.values()):
        found = _compared(source, target, at_most)
    else:  # images that are made, not read
        found = Copies(int((given.name, given.options) == (own.name, resolved.data_options)), 1, 1)
    if found.same > NEARLY_ALL * found.target:
        hints = ["a data set of another domain"]
        if found.same < found.target:
            hints.append("or the images that are not copies, in a folder of their own")
        raise DataError(f"adapt.target: {found.words(name)}.", *hints)
    if not found.unread:
        return ()
    return (
        f"adapt.target: files of {name} have the sizes of the source's; apply reads them ({units.size(found.unread)}) and refuses copies",
    )


def copies(source: Images, target: Images, *, at_most: float = math.inf) -> Copies:
    """Return how many files of a target are the source's, by path or by content.

    Contents are read only where nearly all may be the same by their sizes.

    Args:
        source: The images of the source.
        target: Those of the target.
        at_most: Bytes. If the files whose digests are not remembered have more, they are not read.
    """
    mine, theirs = _every_file(source), _every_file(target)
    paths = set(_real_paths(mine))
    same = sum(path in paths for path in _real_paths(theirs))
    if same < len(theirs):
        sizes = members.sizes(mine), members.sizes(theirs)
        wanted = np.isin(sizes[0], sizes[1]), np.isin(sizes[1], sizes[0])
        if wanted[1].mean() > NEARLY_ALL:
            some = [Subset(files, np.flatnonzero(each)) for files, each in zip((mine, theirs), wanted, strict=True)]
            unread = 0 if at_most == math.inf else sum(map(_unread, some))
            if unread > at_most:
                return Copies(same, len(theirs), len(mine), unread)
            contents = set(members.digests(some[0]))
            same = sum(each in contents for each in members.digests(some[1]))
    return Copies(same, len(theirs), len(mine))


def _compared(source: Images, target: Images, at_most: float) -> Copies:
    """Return `copies`, which all arms and runs ask for."""
    known = _COMPARED.setdefault(source, WeakKeyDictionary())
    found, then = known.get(target, (None, ""))
    if found is None or (found.unread and (found.unread <= at_most or then != file_digests.remembered())):
        found = copies(source, target, at_most=at_most)
        known[target] = found, file_digests.remembered()
    return found


def _unread(files: Subset) -> int:
    """Return the bytes of files whose digests are not remembered."""
    unknown = [each is None for each in members.known_digests(files)]
    return int(members.sizes(files)[unknown].sum())


def _real_paths(files: Iterable[ImageFile]) -> Iterator[bytes]:
    """Yield the path of each file without symbolic links; each folder is looked up once."""
    folders = dict[str, str]()
    for file in files:
        try:
            yield file_digests.place(os.fspath(file), folders)[0]
        except OSError:  # inside a larger file, or gone
            yield os.fsencode(os.path.realpath(file))


def _every_file(images: Images) -> list[ImageFile]:
    """Return the files of a data set, each once."""
    return list({os.fspath(file): file for split in images.splits.values() for file in split.files}.values())
