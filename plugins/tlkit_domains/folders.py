"""Find and read data sets that have a folder for each domain, and in it one for each class: Office-31, Office-Home, PACS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tlkit.errors import DataMissing
from tlkit.plugin import DataFiles, Images
from tlkit_domains import Office31Options, OfficeHomeOptions, PacsOptions
from tlkit_folder import FolderOptions
from tlkit_folder import read as folders

_Chosen = Office31Options | OfficeHomeOptions | PacsOptions


@dataclass(frozen=True)
class _Layout:
    """How a data set lies on disk.

    Attributes:
        domains: Names that the folder of each domain may have.
        below: Folders below the data set's in which the domains may lie.
        inner: Folder of the classes in that of a domain, where it has one.
    """

    domains: Mapping[str, tuple[str, ...]]
    below: tuple[str, ...] = (".",)
    inner: str = "."

    def place(self, folder: Path, wanted: Sequence[str]) -> dict[str, str] | None:
        """Return the folder name of each wanted domain in a folder; None where one is not there."""
        found = {}
        for domain in wanted:
            name = next((each for each in self.domains[domain] if (folder / each).is_dir()), None)
            if name is None:
                return None
            found[domain] = name
        return found


_OFFICE31 = _Layout({name: (name,) for name in ("amazon", "dslr", "webcam")}, (".", "office31"), inner="images")
_OFFICE_HOME = _Layout(
    {
        "art": ("Art",),
        "clipart": ("Clipart",),
        "product": ("Product",),
        "real_world": ("Real World", "Real_World", "RealWorld"),
    }
)
_PACS = _Layout(
    {name: (name,) for name in ("photo", "art_painting", "cartoon", "sketch")}, (".", "Raw images/kfold", "PACS", "pacs_data")
)


def _find(layout: _Layout, folder: Path, options: _Chosen) -> DataFiles:
    """Return the images of the domains that are named: the source's, and the target's.

    Raises:
        DataMissing: a domain is not there.
        DataError: as for the data set `folder`.
    """
    wanted = [name for name in (options.source, options.target) if name is not None]
    for below in layout.below:
        place = folder / below
        names = layout.place(place, wanted)
        if names is not None:
            return _found(layout, place, names, options)
    raise DataMissing(f"{folder}: has no {' and '.join(layout.domains[name][0] for name in wanted)}.")


def _found(layout: _Layout, place: Path, names: Mapping[str, str], options: _Chosen) -> DataFiles:
    if options.alone is not None:
        domain = place / names[options.alone]
        inner = domain / layout.inner
        return folders.find(inner if inner.is_dir() else domain, _one(options))
    found = folders.find(place, _two(names[options.source or ""], names[options.target or ""]))
    used = set(names.values())  # images of the other domains are not "left out"
    return replace(found, unused=tuple(file for file in found.unused if file.relative_to(place).parts[0] in used))


def _read(layout: _Layout, found: DataFiles, options: _Chosen) -> Images:
    """Return the source's images as training set and the target's as test set; of one domain a part is held out.

    Raises:
        DataError: a class of the target has no image in the source, or as for the data set `folder`.
    """
    if options.alone is not None:
        return folders.read(found, _one(options))
    names = layout.place(found.root, [options.source or "", options.target or ""]) or {}
    return folders.read(found, _two(names[options.source or ""], names[options.target or ""]))


def _one(options: _Chosen) -> FolderOptions:
    return FolderOptions(splits={}, test_fraction=options.test_fraction)


def _two(source: str, target: str) -> FolderOptions:
    return FolderOptions(splits={source: "train", target: "test"})


find_office31, read_office31 = partial(_find, _OFFICE31), partial(_read, _OFFICE31)
find_office_home, read_office_home = partial(_find, _OFFICE_HOME), partial(_read, _OFFICE_HOME)
find_pacs, read_pacs = partial(_find, _PACS), partial(_read, _PACS)
