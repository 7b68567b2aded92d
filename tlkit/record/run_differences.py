"""In what two runs differ: keys of their recipes, plans, results, and weights. Imports no torch.

The rule: everything is read from the run folders; nothing is trained or evaluated for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open

from tlkit.errors import RunFolderError
from tlkit.recipe.maps import HEAD
from tlkit.record import record_files, run_files, run_folder, run_status

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NOT_OF_AN_ARM = ("format", "name", "seeds")  # keys of a recipe that say nothing about what its run learns
_NOT_OF_A_PLAN = ("tables", "recipe", "parameters", "folder", "format")  # the recipe's own, or a line for each tensor
Values = tuple[object, object]


@dataclass(frozen=True)
class StageChange:
    """The difference of the weights of a stage.

    Attributes:
        stage: Its name.
        change: |second - first| / |first|, Euclidean over all parameters that both runs have with one shape; None without such,
            or where the first run's are all zero and the second's are not.
        parameters: Number of values that were compared.
        only_one: Names of parameters that one run lacks, or has with another shape.
    """

    stage: str
    change: float | None
    parameters: int
    only_one: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunDifferences:
    """In what two runs differ. A value that a run lacks is None.

    Attributes:
        folders: Of the two runs.
        recipe: Key -> the values of both, of keys in which they differ.
        plan: The same for the plan, the recipe's keys and single parameters left out.
        result: Metric -> the values of both, of every metric; of versions those that differ.
        weights: For each stage, in order.
        note: Why the weights cannot be compared; "" if they can.
    """

    folders: tuple[Path, Path]
    recipe: Mapping[str, Values]
    plan: Mapping[str, Values]
    result: Mapping[str, Values]
    weights: tuple[StageChange, ...]
    note: str = ""


def differences(first: Path, second: Path) -> RunDifferences:
    """Compare two runs.

    Raises:
        RunFolderError: a folder is not that of a run, or a file in it is damaged.
    """
    read = (run_folder.RECIPE, run_folder.RESOLVED, run_folder.PLAN, run_folder.WEIGHTS)
    for folder in (first, second):  # a file that the run never wrote is told of where it is read
        run_files.check(folder, read)
    try:
        weights, note = _weights(first, second), ""
    except _NoWeightsError as error:
        weights, note = (), str(error)
    return RunDifferences(
        (first, second),
        _unequal(keys(first), keys(second)),
        _unequal(_plan(first), _plan(second)),
        {**_paired(_result(first), _result(second)), **_unequal(_versions(first), _versions(second))},
        weights,
        note,
    )


def keys(folder: Path) -> dict[str, object]:
    """Return the keys of a run's recipe that determine what it learns, and the digests of its inputs, as key -> value.

    Raises:
        RunFolderError: a file is missing or damaged.
    """
    path = folder / run_folder.RECIPE
    try:
        tables = record_files.toml(path)
    except FileNotFoundError:
        raise RunFolderError(f"{folder}: is not the folder of a run: it has no {run_folder.RECIPE}.") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path}: is damaged: {error}.") from error
    found = flat({name: value for name, value in tables.items() if name not in _NOT_OF_AN_ARM})
    if (folder / run_folder.RESOLVED).is_file():
        found |= flat({"inputs": run_folder.resolved(folder).get("inputs", {})})
    return found


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Return nested tables as key -> value, keys written as TOML's dotted keys; an empty table has none."""
    found: dict[str, object] = {}
    for name, value in tables.items():
        key = prefix + (name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False))
        found |= flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return found


def _plan(folder: Path) -> dict[str, object]:
    path = folder / run_folder.PLAN
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        named = {name: _by_name(value) for name, value in record.items() if name not in _NOT_OF_A_PLAN}
        if named.get("kernels"):  # eleven keys for each of a hundred would hide everything else
            named["kernels"] = (
                f"{len(record['kernels'])} chosen, {hashlib.sha256(json.dumps(record['kernels']).encode()).hexdigest()[:8]}"
            )
    except FileNotFoundError:
        return {}
    except (OSError, AttributeError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: is damaged: {error}.") from error
    return flat(named)


def _by_name(value: object) -> object:
    """Return a list of tables with names, such as stages, as a table of tables; another list of tables by position."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return {str(each.get("name", number)): each for number, each in enumerate(value, 1)}
    return value


def _result(folder: Path) -> dict[str, object]:
    result = run_status.read(folder)
    if result is None:
        return {}
    record = run_folder.to_record(result)
    kept = ("status", "train", "validation", "test", "gap", "also", "best_epoch", "epochs", "seconds", "parameters")
    return flat({name: record[name] for name in kept if record.get(name) is not None})


def _versions(folder: Path) -> dict[str, object]:
    result = run_folder.read(folder)
    return {} if result is None else flat({"versions": result.versions})


def _paired(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, Values]:
    return {key: (first.get(key), second.get(key)) for key in dict.fromkeys([*first, *second])}


def _unequal(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, Values]:
    return {key: values for key, values in _paired(first, second).items() if values[0] != values[1]}


class _NoWeightsError(Exception):
    """The weights cannot be compared."""


def _weights(first: Path, second: Path) -> tuple[StageChange, ...]:
    """Compare the parameters of each stage of the first run's plan, then of those that the second alone has."""
    of_first, of_second = _stages(first), _stages(second)
    order = dict.fromkeys([*of_first.values(), *of_second.values()])
    paths = [folder / run_folder.WEIGHTS for folder in (first, second)]
    for path in paths:
        if not path.is_file():
            raise _NoWeightsError(f"{path} is not there: an unfinished run has none, nor has a solved head's alone")
    sums = {stage: [0.0, 0.0, 0.0] for stage in order}  # of squares: the difference's, the first's; the number of values
    only_one: dict[str, list[str]] = {stage: [] for stage in order}
    try:
        with safe_open(paths[0], framework="np") as a, safe_open(paths[1], framework="np") as b:
            both = set(a.keys()) & set(b.keys())
            for name, stage in {**_named(b.keys(), of_second), **_named(a.keys(), of_first)}.items():
                if name not in both or a.get_slice(name).get_shape() != b.get_slice(name).get_shape():
                    only_one[stage].append(name)
                    continue
                before, after = (np.asarray(file.get_tensor(name), dtype=np.float64) for file in (a, b))
                sums[stage][0] += float(np.square(after - before).sum())
                sums[stage][1] += float(np.square(before).sum())
                sums[stage][2] += before.size
    except (SafetensorError, TypeError, OSError) as error:
        raise _NoWeightsError(f"{paths[0]} and {paths[1]} cannot be read: {error}") from error
    return tuple(_change(stage, sums[stage], only_one[stage]) for stage in order)


def _change(stage: str, sums: Sequence[float], only_one: Iterable[str]) -> StageChange:
    difference, before, count = sums
    known = count and (before or not difference)
    change = math.sqrt(difference / before) if known and before else 0.0
    return StageChange(stage, change if known else None, int(count), tuple(only_one))


def _named(names: Iterable[str], stages: Mapping[str, str]) -> dict[str, str]:
    """Return the stage of each parameter in a file of weights, where the head has the name that its library gives it; no buffers."""
    if not set(names) & stages.keys():  # a plugin calls all its tensors otherwise
        return {}
    modules = {name.rpartition(".")[0] for name in stages}
    unknown = {name: HEAD for name in names if name not in stages and name.rpartition(".")[0] not in modules}
    return {**{name: stages[name] for name in names if name in stages}, **unknown}


def _stages(folder: Path) -> dict[str, str]:
    """Return the stage of each parameter of a run's plan."""
    try:
        record = json.loads((folder / run_folder.PLAN).read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, str]).validate_python({each["name"]: each["stage"] for each in record["parameters"]})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:  # ValidationError is a ValueError
        raise _NoWeightsError(f"{folder / run_folder.PLAN} does not say which parameters belong to which stage") from error
