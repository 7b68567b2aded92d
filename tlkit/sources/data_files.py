"""Find a data set's files on this machine, or download them. Imports no torch.

The rule: every place that was looked in is named when something is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from tlkit import file_digests, files, plugin
from tlkit.errors import DataError, DataMissing, PluginError, TlkitError, option, setting
from tlkit.plugin import DataFiles, Dataset, Download
from tlkit.sources import download
from tlkit.sources.places import Places, relative

_ARCHIVES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip")


def data_folder() -> Path:
    """Return the folder that holds data sets: $TLKIT_DATA, else ~/.cache/tlkit/data."""
    return files.named_folder("TLKIT_DATA") or files.home_cache() / "data"


def find_data(name: str, dataset: Dataset, options: BaseModel | None, places: Places, *, fetch: bool) -> DataFiles:
    """Find a data set's files.

    Args:
        name: Of the data set.
        dataset: The plugin.
        options: Its checked options; a field `path` names the folder.
        places: Where to look.
        fetch: Download what is missing, unless `places` forbids it.

    Raises:
        DataMissing: with every folder that was looked in, and what would help.
    """
    if not dataset.files and not dataset.find:
        return DataFiles(Path(), ())
    address = _address(dataset, options, places)
    if address is not None:
        return _find_by_plugin(dataset, address, options)
    looked = list(_folders(name, dataset, options, places))
    if _must_be_named(dataset):
        return _find_folder(name, dataset, options, looked)
    for folder in looked:
        if dataset.find and folder.is_dir():
            with contextlib.suppress(DataMissing):
                return _find_by_plugin(dataset, folder, options)
        elif dataset.files and all((folder / file).is_file() for file in dataset.files):
            return DataFiles(folder, tuple(folder / file for file in dataset.files))
    why = _download_data(name, dataset, options, places) if fetch else None
    if why is None and fetch:
        return find_data(name, dataset, options, places, fetch=False)
    missing = [file for file in dataset.files if not looked or not (looked[0] / file).is_file()] or [dataset.subfolder or name]
    raise DataMissing(
        f'data.name: "{name}" is not on this machine: {", ".join(missing[:3])}{" ..." if len(missing) > 3 else ""} not found.',
        *(f"looked in {folder}" for folder in looked),
        f"could not download it: {why}" if why else "",
        f"its page: {dataset.page}" if dataset.page else "",
        f"put the files of {dataset.subfolder or name} in one of these folders, or name their folder with {option('data')}",
        f"to try the recipe without them: {setting('data.name=synthetic')}" if places.settings else "",
    )


def _must_be_named(dataset: Dataset) -> bool:
    """Whether a data set's folder may be anywhere, so that the user has to name it."""
    return bool(dataset.find) and not (dataset.downloads or dataset.subfolder)


def takes_folder(dataset: Dataset) -> bool:
    """Return whether a data set is read from a folder that a user may name."""
    return bool(dataset.files or dataset.find) and not dataset.inside


def data_content(dataset: Dataset, found: DataFiles, *, content: Callable[..., str] = file_digests.content) -> str:
    """Return the sha256 of all files that determine the images; "" if the options alone do."""
    if found.content:
        return found.content
    return content(found.files, root=found.root if dataset.find else None) if found.files else ""


def _find_by_plugin(dataset: Dataset, folder: Path | str, options: BaseModel | None) -> DataFiles:
    found = plugin.call(dataset.find, folder, options)
    if not isinstance(found, DataFiles):
        raise PluginError(f"{dataset.find}: gave {type(found).__name__}, not tlkit.plugin.DataFiles.")
    return found


def _find_folder(name: str, dataset: Dataset, options: BaseModel | None, looked: list[Path]) -> DataFiles:
    for folder in looked:
        if folder.is_dir():
            return _find_by_plugin(dataset, folder, options)
        if dataset.addresses and (folder.is_file() or _is_pattern(folder)):
            return _find_by_plugin(dataset, folder, options)
        if folder.is_file():
            raise _file(folder, options)
    if not looked:
        raise DataMissing(
            f'data.options.path: is missing: "{name}" needs to know which folder.',
            f'data.options.path = "images", or {option("data", "images")}',
        )
    raise DataMissing(
        f"{looked[0]}: there is no such folder.",
        f"name the folder of images with data.options.path (relative to the recipe) or {option('data')}",
    )


def _file(path: Path, options: BaseModel | None) -> DataError:
    """Return the error for a file that is named where a folder is meant."""
    if path.suffix.lower() in _ARCHIVES:
        return DataError(f"{path}: is an archive, not a folder.", "unpack it, and name the folder that comes out")
    table = hasattr(options, "file")
    return DataError(
        f"{path}: is a file, not a folder.",
        f'data.options.path = "{path.parent}", data.options.file = "{path.name}"'
        if table
        else "name the folder that it lies in",
    )


def _is_pattern(path: Path) -> bool:
    """Return whether a path names several files, "images-{000..099}.tar"."""
    return any(letter in path.name for letter in "{*?[")


def _address(dataset: Dataset, options: BaseModel | None, places: Places) -> str | None:
    """Return the address that the option `path` has, s3://...; None where it is a path.

    Raises:
        DataMissing: it may not be asked.
    """
    path: str | None = getattr(options, "path", None)
    if not dataset.addresses or places.data is not None or path is None or "://" not in path:
        return None
    if places.offline:
        raise DataMissing(
            f"{path}: is an address, which a plan and {option('offline', True)} do not read.",
            f"a folder has the same shards: name it with {option('data')}",
        )
    return path


def _asked(options: BaseModel | None, places: Places) -> Path | None:
    """Return the folder that the user named, with --data or the option `path`."""
    path: str | None = getattr(options, "path", None)
    if path == "":
        raise DataMissing("data.options.path: is empty.", 'a folder, relative to the recipe: data.options.path = "images"')
    return places.data if places.data is not None else relative(path, places) if path is not None else None


def _folders(name: str, dataset: Dataset, options: BaseModel | None, places: Places) -> Iterator[Path]:
    """Return the folders to look in for a data set, in order."""
    if dataset.inside:
        package, _, below = dataset.inside.partition("/")
        from importlib.util import find_spec

        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            yield Path(next(iter(spec.submodule_search_locations))) / below
        return
    asked = _asked(options, places)
    if _must_be_named(dataset):
        if asked is not None:
            yield asked
        return
    bases = [asked] if asked is not None else list(dict.fromkeys([data_folder(), files.home_cache() / "data"]))
    for base in bases:
        for folder in (base, base / _family(name)):
            yield folder
            if dataset.subfolder:
                yield folder / dataset.subfolder


def _family(name: str) -> str:
    """Return the name of a data set's folder; the data sets of a family share one."""
    return name.partition(":")[0]


def _is_here(wanted: Download, folder: Path) -> bool:
    """Whether a download need not be fetched again."""
    if wanted.archive:
        return bool(wanted.holds) and (folder / wanted.holds).is_dir()
    return (folder / wanted.filename).is_file()


def _download_data(name: str, dataset: Dataset, options: BaseModel | None, places: Places) -> str | None:
    """Download a data set; return the reason if that failed."""
    downloads = dataset.fetched(options)
    if not downloads:
        return "it has no address to download from"
    if places.offline:
        return f"{option('offline', True)} forbids {downloads[0].url}"
    target = (_asked(options, places) or data_folder()) / _family(name)
    try:
        for wanted in downloads:
            if not _is_here(wanted, target / wanted.into):
                download.fetch(wanted, target / wanted.into, notify=places.notify, show=places.show, watch=places.watch)
    except OSError as error:
        return f"{target}: {error.strerror or error}"
    except TlkitError as error:
        return str(error.problem)
    return None
