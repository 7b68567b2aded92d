"""Find the labelled images on which `tlkit evaluate` evaluates a finished run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tlkit import tasks
from tlkit.errors import DataError, TlkitError, in_setting, nearest, option, setting
from tlkit.plans import band_checks, dataset_facts, dataset_images
from tlkit.plans.resolved import Source
from tlkit.plugin import DataFiles, Dataset, Images, registry
from tlkit.recipe import naming, parsing
from tlkit.recipe.messages import dotted
from tlkit.recipe.settings import parse_setting
from tlkit.recipe.tables import DataTable
from tlkit.record import trained_data
from tlkit.record.trained_data import ANEW
from tlkit.run.prediction import Predictor
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places

_OPTIONS = ("data", "options")


def find(
    predictor: Predictor, run: Path, table: DataTable, on: str, settings: Sequence[str], *, places: Places, note: Callable[[str], None],
) -> tuple[Source, Images, str]:  # fmt: skip
    """Return the data set that a run is evaluated on, its images, and which of them: "test", or "all" where it has no test images.

    Args:
        predictor: The run's.
        run: Its folder.
        table: The data of the run's recipe.
        on: A folder of images, one sub-folder per class, or the name of a data set.
        settings: "data.options.KEY=VALUE" each.
        places: Where the data set is looked for.
        note: Told of what the data set's files have that is not used, and where the run was trained on them.

    Raises:
        TlkitError: there is no such data set, or it has classes or targets that the network has not.
    """
    with naming.named(f"evaluate: {on}"):
        source = _source(on, settings, table)
    wanted = predictor.network.task.targets
    if source.name != on and wanted.whole:
        raise DataError(
            f"evaluate: {on}: is read as a sub-folder per class, and the network answers for {wanted.words}.",
            f"name the data set that reads it: {option('on', table.name)} {setting(f'data.options.path={on}')}, with its other options",
        )
    with naming.named(f"evaluate: {on}"):
        found = data_files.find_data(source.name, source.dataset, source.options, places, fetch=True)
        images, part = dataset_images.labelled_images(source, found, predictor.classes, where=f"evaluate: {on}")
    for line in dataset_facts.unused(found):
        note(line)
    if _was_trained_on(run, source, found, part):
        note(f"evaluate: {on}: the run was trained on images of this data set; its metrics do not tell how it does on new ones")
    targets = images.splits[part].targets
    if not wanted.holds(targets):
        words = tasks.understanding(targets)[0].targets.words
        raise DataError(f"evaluate: {on}: has {words}; the network answers for {wanted.words}.")
    return source, images, part


def _source(on: str, settings: Sequence[str], table: DataTable) -> Source:
    """Return the data set that is evaluated, with its options."""
    options: dict[str, Any] = {}
    for given in map(parse_setting, settings):
        if given.path[:2] != _OPTIONS or len(given.path) != len(_OPTIONS) + 1:
            raise TlkitError(
                f"{in_setting(dotted(*given.path))}: is no option of the data set.", setting("data.options.KEY=VALUE")
            )
        options[given.path[2]] = given.value
    name = on
    if not datasets.is_named(on):
        if not Path(on).is_dir():
            names = [entry.name for entry in registry.entries(Dataset)]
            raise TlkitError(
                f"evaluate: {on} is neither a data set nor a folder.", nearest(on, names), f"data sets: {', '.join(names)}"
            )
        name, options = "folder", {"path": str(Path(on).resolve()), **options}
    dataset = registry.get(Dataset, name)
    if table.channels is not None and band_checks.reads_bands(dataset):
        options["channels"] = table.channels
    return Source(name, dataset, parsing.options(dataset.options, options, place="data.options"))


def _was_trained_on(run: Path, source: Source, found: DataFiles, part: str) -> bool:
    """Return whether a run may have been trained on images of a part: on any of the data set, on its own test images where divided anew."""
    contents = [each.content for each in trained_data.of_run(run) if part == "all" or each.split == ANEW]
    return bool(found.files and contents) and data_files.data_content(source.dataset, found) in contents
