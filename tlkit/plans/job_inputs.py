"""Data and weights of an arm: where they are on this machine, and digests of what is in them. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tlkit import file_digests, files
from tlkit.errors import RecipeError, TlkitError, option
from tlkit.plans import arm_weights
from tlkit.plans.resolved import Resolved, Source
from tlkit.plugin import DataFiles
from tlkit.recipe import parsing
from tlkit.record import run_folder
from tlkit.sources import data_files, weight_files
from tlkit.sources.listed_files import listed_files
from tlkit.sources.places import Places, relative


@dataclass(frozen=True)
class Inputs:
    """Files of an arm.

    Attributes:
        data: Of each of its data sets, by the names of `Resolved.sources`.
        weights: The file of its weights; None for random weights.
    """

    data: Mapping[str, DataFiles]
    weights: Path | None


def find(resolved: Resolved, places: Places) -> Inputs:
    """Find one arm's data and weights, downloading what is missing.

    Args:
        resolved: The arm.
        places: Where to look.

    Raises:
        RecipeError: of everything that cannot be had.
        TlkitError: a path is not UTF-8.
    """
    arm, problems = resolved.arm, []
    found, weights = dict[str, DataFiles](), None
    try:
        found["data"] = data_files.find_data(arm.data.name, resolved.dataset, resolved.data_options, places, fetch=True)
    except TlkitError as error:
        problems.append(error)
    try:
        weights = weight_files.find_weights(
            arm.backbone.weights, arm.backbone.name, resolved.backbone, places, fetch=True, run=arm_weights.weights_of_run
        )
    except TlkitError as error:
        problems.append(error)
    for table, source in resolved.sources.items():
        if table == "data":
            continue
        try:
            found[table] = _find_beside(source, places, fetch=True)
        except TlkitError as error:
            hints = [hint for hint in error.hints if option("data") not in hint]
            problems.append(TlkitError(f"{table}: {error.problem}", *hints, f"{table}.options.path names its folder"))
    if problems:
        raise RecipeError(problems)
    for path in (*(each.root for each in found.values()), *([] if weights is None else [weights])):
        files.refuse_other_than_utf8(path.resolve())
    return Inputs(found, weights)


def _find_beside(source: Source, places: Places, *, fetch: bool) -> DataFiles:
    """Find the files of a data set beside that of [data], which --data does not name."""
    return data_files.find_data(source.name, source.dataset, source.options, replace(places, data=None), fetch=fetch)


def known_data(resolved: Resolved, places: Places) -> DataFiles:
    """Find an arm's data without downloading anything.

    Raises:
        DataMissing: with every folder that was looked in.
        TlkitError: a file is damaged or changed. Each error begins with the recipe, as those of `find` do where a recipe is applied.
    """
    with _begun(resolved.where):
        return data_files.find_data(resolved.arm.data.name, resolved.dataset, resolved.data_options, places, fetch=False)


def known_beside(resolved: Resolved, table: str, source: Source, places: Places) -> DataFiles:
    """Find the files of an arm's other data set, that of a table, without downloading anything; the errors are those of `known_data`."""
    with _begun(f"{resolved.where}: {table}"):
        return _find_beside(source, places, fetch=False)


@contextlib.contextmanager
def _begun(where: str) -> Iterator[None]:
    try:
        yield
    except TlkitError as error:
        error.begin_with_(where)
        raise


def content(resolved: Resolved, inputs: Inputs, *, content_of: Callable[[tuple[Path, ...]], str]) -> dict[str, str]:
    """Return what an arm's digest covers beside its tables: digests of data and weights, and how they are read.

    Args:
        resolved: The arm.
        inputs: Its files.
        content_of: Returns the digest of files.

    Raises:
        DataError: a file cannot be read.
    """
    digests: dict[str, str] = {}
    for table, source in resolved.sources.items():
        digests |= data_content(table, source, inputs.data[table], content_of=content_of)
    if inputs.weights is not None:
        digests["weights"] = content_of((inputs.weights,))
        # One file may be named in ways that prepare images, name tensors or take the head differently.
        digests["input"], digests["weights_as"] = repr(resolved.convention), _kind(resolved, inputs.weights)
    return digests


def versions(resolved: Resolved) -> dict[str, str]:
    """Return the version of each of an arm's data sets whose plugin declares one, by its name in `Job.inputs`.

    Raises:
        PluginError: a plugin cannot say it.
    """
    divided, sources = resolved.folds is not None, resolved.sources  # the images of [data] alone
    found = {key: each.dataset.version_of(each.options, folds=divided and key == "data") for key, each in sources.items()}
    return {key: version for key, version in found.items() if version}


def data_content(
    key: str, source: Source, found: DataFiles, *, content_of: Callable[..., str] = file_digests.content
) -> dict[str, str]:
    """Return the digest of a data set's files, and of those that its splits list beside them, by their names in `Job.inputs`.

    Args:
        key: "data", "also.NAME" of another data set that is evaluated, or "data.unlabelled".
        source: The data set.
        found: Its files.
        content_of: Returns the digest of files.

    Raises:
        DataError: a file cannot be read.
    """
    content = data_files.data_content(source.dataset, found, content=content_of)
    listed = listed_files(source.name, source.dataset, found, source.options, content=content)
    return {key: content} | ({f"{key}.listed": content_of(listed)} if listed else {})


def local_weights(resolved: Resolved, places: Places) -> Path | None:
    """Return an arm's weights file where it is on this machine; None where it is not, or has random weights."""
    arm = resolved.arm
    with contextlib.suppress(TlkitError):
        return weight_files.find_weights(
            arm.backbone.weights, arm.backbone.name, resolved.backbone, places, fetch=False, run=arm_weights.weights_of_run
        )
    return None


def known_content(resolved: Resolved, places: Places) -> str:
    """Return the digest of an arm's data as `Job` has it, without reading a file; "unknown" where that cannot be said."""
    with contextlib.suppress(TlkitError):
        found = data_files.find_data(resolved.arm.data.name, resolved.dataset, resolved.data_options, places, fetch=False)
        if found.content or not found.files:
            return data_files.data_content(resolved.dataset, found)
        root = found.root if resolved.dataset.find else None
        return file_digests.known_content(found.files, root=root) or "unknown"
    return "unknown"


def refuse_own_run(resolved: Resolved, places: Places, *, runs: Path) -> None:
    """Refuse an arm that begins with the best run of its own recipe: each run would change which one that is."""
    value = resolved.arm.backbone.weights
    if not value.startswith(weight_files.RUN):
        return
    source = relative(value.removeprefix(weight_files.RUN), places)
    if source.resolve() == (runs / resolved.recipe).resolve():
        problem = TlkitError(
            f"backbone.weights: {value} is where this recipe's own runs are kept, so it would begin with itself.",
            "name one run's folder, which does not change: run:RUNS/RECIPE/ARM-sSEED-DIGEST",
            f'or give this recipe another name than "{resolved.recipe}"',
        )
        raise RecipeError([problem])


def refuse_seen_images(resolved: Resolved, found: DataFiles, weights: Path) -> None:
    """Refuse a cross-validation that begins with a run on the same data set: that run has trained on images of every fold."""
    value, own = resolved.arm.backbone.weights, resolved.arm.data
    if not value.startswith(weight_files.RUN):
        return
    (earlier,) = parsing.read(weights.parent / run_folder.RECIPE).arms.values()
    theirs = earlier.data
    if theirs.name != own.name:
        return
    path = theirs.options.get("path")
    same = Path(path).resolve() == found.root.resolve() if path else bool(found.files) or theirs.options == own.options
    if same:
        problem = TlkitError(
            f"backbone.weights: {value} was trained on images of {own.name} that the folds test, so its scores would be too high.",
            f'weights that have not seen these images, for instance weights = "{arm_weights.trained(resolved.backbone)}"',
            "or leave [cross_validation] out",
        )
        raise RecipeError([problem])


def _kind(resolved: Resolved, weights: Path) -> str:
    """How a weights file is read: as a run's, with a plugin's names, in part, or as it is."""
    value, offered = resolved.arm.backbone.weights, resolved.backbone.weights
    if value.startswith(weight_files.RUN):
        return "run"
    if value in offered:
        return f"{offered[value].read} {offered[value].rename}".strip()
    key = weight_files.part(value, weights)
    return f"#{key}" if key else ""
