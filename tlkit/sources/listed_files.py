"""Find the image files that a data set lists beside the files by which it was found. Imports no torch itself; a plugin may.

A data set that is declared with `files=("list.txt",)` names one file, and reads from it which pictures there are. A run depends on their
content too.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from tlkit.plugin import DataFiles, Dataset, Subset, provenance
from tlkit.plugin.remembered import recall, remember
from tlkit.sources import datasets


def listed_files(name: str, dataset: Dataset, found: DataFiles, options: BaseModel | None, *, content: str) -> tuple[Path, ...]:
    """Return the files that a data set's splits list and `found` does not, sorted; reading the data set is needed once.

    Args:
        name: As the recipe names the data set.
        dataset: The plugin.
        found: Its files; a data set without files is made from its options, and lists none.
        options: Its checked options.
        content: The digest of `found`, by which the answer is remembered.

    Raises:
        DataError: the data set cannot be read.
    """
    if not found.files:
        return ()
    source = provenance.of(dataset, name)
    facts = {
        "what": "listed files", "read": dataset.read, "source": source.record(), "options": repr(options), "content": content,
        "root": os.fsdecode(os.path.abspath(found.root)),
    }  # fmt: skip
    known = recall(facts)
    if isinstance(known, list) and all(isinstance(each, str) for each in known):
        return tuple(map(Path, known))
    images = datasets.read_data(dataset, found, options)
    others = [
        split.files
        for split in images.splits.values()
        if not (isinstance(split.files, Subset) and split.files.whole is found.files)
    ]
    listed = {file for files in others for file in files if isinstance(file, Path)}
    extra = sorted(listed - set(found.files)) if listed else []
    remember(facts, [os.fspath(file) for file in extra])
    return tuple(extra)
