"""Whether what a run reads from, tells and is carried out by keeps the contract: data sets, loggers and executors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tlkit import file_digests, plugin, tasks, units
from tlkit.errors import PluginError, reason
from tlkit.plugin import Dataset, Demand, Executor, Images, LoggedEnd, LoggedRun, Logger, Split
from tlkit.plugin.calling import comes_with
from tlkit.recipe import parsing
from tlkit.run import executor_calls
from tlkit.sources import data_files, datasets
from tlkit.sources.places import Places


def check_dataset(name: str, dataset: Dataset, *, data: Path | None = None) -> Iterator[str]:
    """Hold a data set to the contract, with the files that are on this machine.

    Yields:
        What holds, in words.

    Raises:
        PluginError, DataError: what does not.
    """
    options = parsing.options(dataset.options, {}, place="data.options")
    found = data_files.find_data(name, dataset, options, Places(data=data, offline=True), fetch=False)
    count = f"{len(found.files):,} file{'' if len(found.files) == 1 else 's'}"
    yield f"is found: {f'{count} in {found.root}' if found.files else 'made from its options'}"
    images = datasets.read_data(dataset, found, options)
    if dataset.classes is not None and dataset.classes != len(images.classes):
        raise PluginError(f"{dataset.read}: gives {len(images.classes)} classes, declared are {dataset.classes}.")
    yield f"has {len(images.classes)} classes with names of their own"
    for split, each in images.splits.items():
        yield f"{split}: {len(each.targets)} images with targets in range"
    _check_order(dataset, images, datasets.read_data(dataset, found, options))
    yield "gives the same images in the same order when it is read again"
    if versions := sorted({dataset.version_of(options, folds=folds) for folds in (False, True)} - {""}):
        yield f"is read in version {', '.join(versions)}: finished runs of another version do not count"
    listed = {file for each in images.splits.values() for file in each.files if isinstance(file, Path)} - set(found.files)
    if listed and found.files:
        file_digests.content(sorted(listed))  # each can be read
        yield f"lists {units.images(len(listed))} beside its files: their content is in the digest of a run"


def _check_order(dataset: Dataset, once: Images, again: Images) -> None:
    for split, each in once.splits.items():
        other = again.splits.get(split)
        if other is None or not _same(each, other):
            raise PluginError(
                f"{dataset.read}: {split}: read twice, it gives other images, or the same in another order.",
                "sort files, and draw nothing at random: a run that continues finds its images by their places",
                comes_with(dataset.read),
            )


def _same(one: Split, two: Split) -> bool:
    """Return whether files, class labels and pixels are the same; masks and boxes are compared by their files alone."""
    files = len(one.files) == len(two.files) and all(str(a) == str(b) for a, b in zip(one.files, two.files, strict=True))
    whole = any(task.targets.whole for task in tasks.understanding(one.targets))
    labels = whole or np.array_equal(one.targets, two.targets)
    return files and labels and (one.pixels is None or two.pixels is None or np.array_equal(one.pixels, two.pixels))


def check_logger(name: str, logger: Logger) -> Iterator[str]:
    """Hold a logger to the contract: it takes a run with two epochs and its end, in a folder that is removed afterwards.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    logger.check_installed(name)
    options = parsing.options(logger.options, {}, place="loggers.options")
    values = {"train/loss": 1.0, "train/accuracy": 0.5, "lr/head": 0.1}
    with tempfile.TemporaryDirectory() as folder:
        run = LoggedRun("check", "main", 0, None, Path(folder), {"optimizer.name": "adamw"}, ({"epoch": 1, **values},))
        opened = plugin.call(logger.open, run, options)
        yield "takes a run that continues after its first epoch"
        for method, given in (("epoch", {"epoch": 2, **values}), ("end", LoggedEnd("finished", {"best_epoch": 2}))):
            try:
                getattr(opened, method)(given)
            except Exception as error:  # whatever a third party's code raises
                raise PluginError(f"{logger.open}: its method {method} fails: {reason(error)}.") from error
            yield f"takes {'an epoch' if method == 'epoch' else 'the end of the run'}"


def check_executor(name: str, executor: Executor) -> Iterator[str]:
    """Hold an executor to the contract: it calls work elsewhere, and gives what that returned or raised.

    Yields:
        What holds, in words.

    Raises:
        PluginError: what does not.
    """
    executor.check_installed(name)
    if not executor.run:
        yield "carries out runs in this process"
        return
    with executor_calls.reached(executor, Demand()):
        given = dict(executor_calls.done_by(executor, {"answers": _answer, "fails": _fail}, Demand(), lambda: None))
    if given.get("answers") != _answer():
        raise PluginError(f"{executor.run}: gave {given.get('answers')!r} for work that returns {_answer()!r}.")
    yield "calls work and gives what it returned"
    if not isinstance(given.get("fails"), Exception):
        raise PluginError(f"{executor.run}: gave {given.get('fails')!r} for work that raises.")
    yield "gives the exception of work that failed"


def _answer() -> str:
    return "done"


def _fail() -> str:
    raise RuntimeError("this is to fail")
