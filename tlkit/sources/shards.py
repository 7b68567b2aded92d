"""Write a folder of images as shards, by the plugin that reads shards. Imports no torch itself; a plugin may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from tlkit import plugin
from tlkit.errors import DataMissing, TlkitError
from tlkit.plugin import Dataset, registry
from tlkit.recipe import parsing
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places

_WRITE = "tlkit_shards.write:write"


def write(
    folder: Path, out: Path, *, size: int, progress: Callable[[int, int], None], notify: Callable[[str], None]
) -> dict[str, Any]:
    """Write the images of a folder as WebDataset shards with indexes, and check them.

    Args:
        folder: Of images in classes, as the data set `folder` reads it; where it has no test images, those that it holds out are the test
            shards.
        out: A folder that is not there, or is empty.
        size: Bytes of a shard, at most.
        progress: Called with the images written and their total.
        notify: Told of files that are left out, one line each.

    Returns:
        The content of shards.json: the classes, and of each shard its split, images and bytes.

    Raises:
        DataError: the folder is none of images in classes, or an image cannot be read.
        TlkitError: the shards cannot be written, or would lie in the folder.
    """
    if not folder.exists():
        raise DataMissing(f"{folder}: there is no such folder.", "a folder of images, in one sub-folder per class")
    if out.resolve().is_relative_to(folder.resolve()):
        raise TlkitError(f"{out}: lies in {folder}, whose images are written.", "a folder beside it")
    dataset = registry.get(Dataset, "folder")
    options = parsing.options(dataset.options, {}, place="data.options")
    found = data_files.find_data("folder", dataset, options, Places(data=folder), fetch=False)
    images = datasets.read_data(dataset, found, options)
    for line in found.remarks:
        notify(line)
    return cast(dict[str, Any], plugin.call(_WRITE, images, out, size, progress))
