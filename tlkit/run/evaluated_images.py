"""Find the labelled images on which `tlkit evaluate` evaluates a finished run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlkit import tasks, units
from tlkit.errors import DataError, TlkitError, first_few, in_setting, nearest, option, setting
from tlkit.plans import band_checks, dataset_facts, dataset_images, overlap, seen_images
from tlkit.plans.resolved import Source
from tlkit.plugin import DataFiles, Dataset, Images, Split, registry
from tlkit.plugin.options import path_options
from tlkit.recipe import naming, parsing
from tlkit.recipe.messages import dotted
from tlkit.recipe.settings import parse_setting
from tlkit.recipe.tables import DataTable
from tlkit.record import trained_data
from tlkit.run.prediction import Predictor
from tlkit.sources import data_files, datasets, image_files
from tlkit.sources.places import Places
from tlkit.tasks import Targets

_OPTIONS = ("data", "options")
_CLASSES = "folder"  # the data set that reads images in one sub-folder per class


def find(
    predictor: Predictor, run: Path, table: DataTable, on: str, settings: Sequence[str], *, places: Places, note: Callable[[str], None],
) -> tuple[Source, Images, str]:  # fmt: skip
    """Return the data set that a run is evaluated on, its images, and which of them: "test", or "all" where it has no test images.

    Args:
        predictor: The run's.
        run: Its folder.
        table: The data of the run's recipe.
        on: A folder that the run's own data set reads, or of images in one sub-folder per class; or the name of a data set.
        settings: "data.options.KEY=VALUE" each.
        places: Where the data set is looked for.
        note: Told of what the data set's files have that is not used, and where the run was trained on them.

    Raises:
        TlkitError: there is no such data set, or it has classes or targets that the network has not.
    """
    wanted = predictor.network.task.targets
    with naming.named(f"evaluate: {on}"):
        source, found = _found(on, settings, table, wanted, places, note)
        images, part = dataset_images.labelled_images(source, found, predictor.classes, where=f"evaluate: {on}")
    for line in dataset_facts.unused(found):
        note(line)
    if _was_trained_on(run, source, found, part):
        note(f"evaluate: {on}: the run was trained on images of this data set; its metrics do not tell how it does on new ones")
    elif said := _trained_on(run, images.splits[part]):
        note(f"evaluate: {on}: {said}; the metrics are better than for new images")
    targets = images.splits[part].targets
    if not wanted.holds(targets):
        words = tasks.understanding(targets)[0].targets.words
        raise DataError(f"evaluate: {on}: has {words}; the network answers for {wanted.words}.")
    counts = zip(predictor.classes, wanted.count(targets, len(predictor.classes)), strict=True)
    none = [name for name, count in counts if not count]
    if none and not wanted.one_class and not wanted.whole:
        note(
            f"evaluate: {on}: no image is labelled {first_few(none)}: all count as without it in loss, accuracy, exact match and F1"
        )
    return source, images, part


def _found(
    on: str, settings: Sequence[str], table: DataTable, wanted: Targets, places: Places, note: Callable[[str], None]
) -> tuple[Source, DataFiles]:  # fmt: skip
    """Return the data set that is evaluated and its files; of several that may read a folder, the first that does."""
    first, readers = None, _readers(on, table, wanted)

    def tell(name: str) -> None:
        if name not in (on, _CLASSES):
            another = option("on", "NAME")
            note(f"evaluate: {on}: read as {name}, the data set of the run's recipe; {another} says another")

    for name in readers:
        try:
            source = _source(name, on, settings, table)
            found = data_files.find_data(source.name, source.dataset, source.options, places, fetch=True)
        except TlkitError as error:
            first = first or error
        else:
            tell(name)
            return source, found
    tell(readers[0])
    assert first is not None
    if isinstance(first, DataError) and not datasets.is_named(on):
        more = f"where another data set reads it: {option('on', 'NAME')} {setting(f'data.options.path={on}')}"
        raise type(first)(first.problem, *first.hints, more) from first
    raise first


def _readers(on: str, table: DataTable, wanted: Targets) -> list[str]:
    """Return the data sets that may read what is evaluated: the one of that name; of a folder those for it, the likeliest first.

    Raises:
        TlkitError: it is neither, or a folder of targets that no data set is known to read.
    """
    if datasets.is_named(on):
        return [on]
    if not Path(on).is_dir():
        names = [entry.name for entry in registry.entries(Dataset)]
        raise TlkitError(
            f"evaluate: {on} is neither a data set nor a folder.", nearest(on, names), f"data sets: {', '.join(names)}"
        )
    own = [table.name] if table.name != _CLASSES and _takes_path(table.name) else []
    if not wanted.one_class:
        if own:
            return own
        raise DataError(
            f"evaluate: {on}: the network answers for {wanted.words}, and {table.name}, the data set of the run's recipe, reads no folder.",
            f"name the data set that reads it: {option('on', 'NAME')} {setting(f'data.options.path={on}')}, with its other options",
        )
    try:
        image_files.below(Path(on), where="", bands=table.channels is not None)
    except DataError:  # of clips, shards
        return [*own, _CLASSES]
    return [*own, _CLASSES] if own and _has_files(on, table) else [_CLASSES, *own]


def _has_files(on: str, table: DataTable) -> bool:
    """Return whether a folder has a file by the name that the run's recipe gives it, a table for instance."""
    model = registry.get(Dataset, table.name).options
    defaults = {} if model is None else {name: field.default for name, field in model.model_fields.items()}
    named = [table.options.get(key, defaults[key]) for key in path_options(model)]
    return any(isinstance(name, str) and not _is_whole(name) and (Path(on) / name).is_file() for name in named)


def _takes_path(name: str) -> bool:
    """Return whether a data set is installed that reads the folder of its option `path`."""
    if not registry.offers(Dataset, name):
        return False
    options = registry.get(Dataset, name).options
    return options is not None and "path" in options.model_fields


def _source(name: str, on: str, settings: Sequence[str], table: DataTable) -> Source:
    """Return a data set that is evaluated, with its options.

    Where the run's own reads a folder, it has those of the recipe. Those of sub-folders per class say where the splits of the recipe's folder are.
    """
    given: dict[str, Any] = {}
    for each in map(parse_setting, settings):
        if each.path[:2] != _OPTIONS or len(each.path) != len(_OPTIONS) + 1:
            raise TlkitError(
                f"{in_setting(dotted(*each.path))}: is no option of the data set.", setting("data.options.KEY=VALUE")
            )
        given[each.path[2]] = each.value
    options = given
    if name != on:
        own = _own_options(on, table, given) if name == table.name != _CLASSES else {}
        options = {**own, "path": str(Path(on).resolve()), **given}
    dataset = registry.get(Dataset, name)
    if table.channels is not None and band_checks.reads_bands(dataset):
        options["channels"] = table.channels
    return Source(name, dataset, parsing.options(dataset.options, options, place="data.options"))


def _own_options(on: str, table: DataTable, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the recipe's options, for another folder too.

    Raises:
        TlkitError: one that is not given anew names a file or folder of the recipe's images, a table for instance, by its whole path.
    """
    if Path(str(table.options.get("path", ""))).resolve() != Path(on).resolve():
        said = path_options(registry.get(Dataset, table.name).options)
        for key, value in table.options.items():
            if (
                key not in ("path", *given)
                and isinstance(value, str)
                and _is_whole(value)
                and (key in said if said else Path(value).is_file())
            ):
                raise TlkitError(
                    f"evaluate: {on}: data.options.{key} of the run's recipe, {value}, is of the images that it was trained on.",
                    f"name that of these: {setting(f'data.options.{key}=PATH')}",
                )
    return table.options


def _is_whole(value: str) -> bool:
    return Path(value).is_absolute() or "://" in value


def _was_trained_on(run: Path, source: Source, found: DataFiles, part: str) -> bool:
    """Return whether a run may have been trained on images of a part: on any of the data set, on its own test images if read otherwise."""
    now = trained_data.split(source.name, source.options)
    contents = [each.content for each in trained_data.of_run(run) if part == "all" or trained_data.tested(each, now)]
    return bool(found.files and contents) and data_files.data_content(source.dataset, found) in contents


def _trained_on(run: Path, split: Split) -> str:
    """Say how many images of a part are files that the run, or one that it began with, was trained on; "" where none is."""
    if split.pixels is not None:
        return ""
    for folder, files in seen_images.trained_files(run):
        with contextlib.suppress(DataError):  # of a file that cannot be read any more
            for each in overlap.find(overlap.of_files({overlap.TRAIN: files, "evaluated": split.files})):
                by = "the run" if folder == run else str(folder)
                return f"{each.count:,} of {units.images(each.total)} were trained on by {by}"
    return ""
