"""Summarise all runs of a recipe in result.json: means and intervals over seeds and folds. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.errors import RunFolderError, option
from tlkit.recipe.ensemble import Ensemble
from tlkit.recipe.tables import LONGEST, name_of
from tlkit.record import arm_differences, domains, ensembles, file_lock, findings, run_folder, run_status, search_record
from tlkit.record.run_folder import Coordinates
from tlkit.record.statistics import FEWEST

FORMAT = 2


@dataclass(frozen=True)
class Head:
    """What is the same for all arms of a recipe.

    Attributes:
        recipe: Its name.
        file: Name of its file.
        folds: Number of folds of its cross-validation; None without.
        baseline: The arm that the others are compared with on the same images; None for none.
        study: The study of its search, of which search.json tells; None without.
        ensemble: The recipe's table; None without.
    """

    recipe: str
    file: str
    folds: int | None = None
    baseline: str | None = None
    study: str | None = None
    ensemble: Ensemble | None = None


def gather(recipe_folder: Path, head: Head, current: Mapping[Coordinates, Path]) -> dict[str, Any]:
    """Return the content of a recipe's result.json, from its run folders.

    Args:
        recipe_folder: runs/<recipe>.
        head: Of the recipe.
        current: Run folder of each run of the recipe as last applied.
    """
    folds = head.folds
    arms: dict[str, Any] = {}
    for (arm, seed, fold), folder in current.items():
        result = run_status.read(folder) if folder.is_dir() else None
        if result is None:
            continue
        seeds, run = arms.setdefault(arm, {"seeds": {}})["seeds"], {**run_folder.to_record(result), "folder": folder.name}
        if fold is None:
            seeds[str(seed)] = run
        else:
            seeds.setdefault(str(seed), {"folds": {}})["folds"][str(fold)] = run
    for table in arms.values():
        finished = [run for run in run_folder.runs_of(table) if run["status"] == "finished"]
        table["train"] = over_runs([run["train"] for run in finished if run["train"]], folds)
        table["test"] = over_runs([run["test"] for run in finished if run["test"]], folds)
        if gaps := [run["gap"] for run in finished if run["gap"] is not None]:
            mean, half = _estimate(gaps, folds)
            table["gap"] = _summary(mean, half, -1.0, 1.0, n=len(gaps))
        names = dict.fromkeys(name for run in finished for name in run["also"])
        if names:
            table["also"] = {
                name: over_runs([run["also"][name] for run in finished if name in run["also"]], folds) for name in names
            }
    domains.add_(arms)
    current_names = {folder.name for folder in current.values()}
    search = search_record.read(recipe_folder, head.study) if head.study is not None else None
    if search is not None:
        current_names |= {each.folder for each in search.trials if each.folder is not None}
    if head.baseline is not None:
        arm_differences.add(arms, head.baseline, recipe_folder)
    superseded = sorted(
        folder.parent.name for folder in recipe_folder.glob(f"*/{run_folder.RESULT}") if folder.parent.name not in current_names
    )
    found = findings.of_runs(recipe_folder, current.values())
    warnings = list(found[0].warnings_of("near")) if found is not None else []
    record = {"format": FORMAT, "recipe": head.recipe, "file": head.file, "arms": arms, "superseded": superseded}
    record |= {"search": search.model_dump(mode="json")} if search is not None else {}
    combined = _ensembles(recipe_folder, head, current)
    return {
        **record,
        **({"baseline": head.baseline} if head.baseline else {}),
        **({"ensembles": combined} if combined else {}),
        **({"warnings": warnings} if warnings else {}),
    }


def _ensembles(recipe_folder: Path, head: Head, current: Mapping[Coordinates, Path]) -> list[dict[str, Any]]:
    """Return what ensembles.json tells of the recipe's ensembles, those of several seeds or folds together."""
    if head.ensemble is None:
        return []
    combined = ensembles.read(recipe_folder, head.ensemble, ensembles.groups(head.ensemble, current))
    records = []
    for name in dict.fromkeys(each.group.name for each in combined):
        mine = [each for each in combined if each.group.name == name]
        members = [each.member_accuracy for each in mine if each.member_accuracy is not None]
        records.append(
            {
                "name": name,
                "average": head.ensemble.average,
                "of": "seeds" if mine[0].group.seed is None else "arms",
                "validation": over_runs([each.validation for each in mine if each.validation], head.folds),
                "test": over_runs([each.test for each in mine if each.test], head.folds),
                "member_accuracy": statistics.fmean(members) if members else None,
                "runs": [ensembles.to_record(each) for each in mine],
            }
        )
    return records


def read(recipe_folder: Path) -> dict[str, Any] | None:
    """Return a recipe's result.json; None where there is none that this version can read, so that it is written anew."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        record = json.loads((recipe_folder / run_folder.RESULT).read_text(encoding="utf-8"))
        if isinstance(record, dict) and record.get("format") == FORMAT and _names(record) is not None:
            return record
    return None


def summarise(recipe_folder: Path, head: Head, current: Mapping[Coordinates, Path]) -> tuple[dict[str, Any], bool]:
    """Rebuild a recipe's result.json under a lock; an unchanged file is not written.

    A file that tells of finished runs is not replaced by one that tells of none: what failed hides no result.

    Returns:
        What was gathered, and whether the file holds it; the arguments are those of `gather`.

    Raises:
        OSError: it cannot be written.
    """
    path = recipe_folder / run_folder.RESULT
    record = gather(recipe_folder, head, current)
    if path.is_file() and path.read_bytes() == run_folder.text(record):
        return record, True
    with file_lock.held(recipe_folder / ".lock"):
        files.remove_unfinished(path)
        record = gather(recipe_folder, head, current)
        earlier = read(recipe_folder)
        if earlier is not None and _finished(recipe_folder, earlier) and not _finished(recipe_folder, record):
            return record, False
        files.replace(path, run_folder.text(record))
    return record, True


def forget(recipe_folder: Path) -> None:
    """Take superseded runs whose folders are gone out of a recipe's result.json.

    Raises:
        OSError: it cannot be written.
    """
    with file_lock.held(recipe_folder / ".lock"):
        record = read(recipe_folder)
        if record is not None:
            record["superseded"] = [name for name in record.get("superseded", ()) if (recipe_folder / name).is_dir()]
            files.replace(recipe_folder / run_folder.RESULT, run_folder.text(record))


def refuse_other_recipe(recipe_folder: Path, *, file: str, folders: Iterable[Path]) -> None:
    """Refuse a recipe whose name another recipe file has used: each would take the other's place in result.json and the curves.

    Args:
        recipe_folder: runs/<recipe>.
        file: Name of the recipe's file.
        folders: Run folders of the recipe. Where they are all that result.json tells of, its file was only renamed.

    Raises:
        RunFolderError: the folder holds the runs of another file.
    """
    earlier = read(recipe_folder)
    if earlier is None or earlier.get("file") == file or set(_names(earlier) or ()) <= {folder.name for folder in folders}:
        return
    name = name_of(Path(file).stem, "recipe")
    other = name if name != recipe_folder.name else f"{name[: LONGEST - 2]}-2"
    raise RunFolderError(
        f"{recipe_folder}: holds the runs of another recipe file, {earlier.get('file')}, and {file} has the same name "
        f'"{recipe_folder.name}".',
        f'another name in {file}: name = "{other}"',
        f"or another folder for its runs: {option('runs', 'DIR')}",
    )


def _names(record: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the folder names of the runs that a result.json tells of, with their status; None if it is damaged."""
    try:
        return {run["folder"]: run["status"] for arm in record["arms"].values() for run in run_folder.runs_of(arm)}
    except (AttributeError, KeyError, TypeError):
        return None


def _finished(recipe_folder: Path, record: Mapping[str, Any]) -> bool:
    """Return whether a result.json tells of a finished run that is still there."""
    runs = _names(record) or {}
    return any(status == "finished" and (recipe_folder / name).is_dir() for name, status in runs.items())


def stale(picture: Path, folders: Iterable[Path]) -> bool:
    """Return whether a picture of runs is missing or older than the metrics that it shows."""
    shown = [path for folder in folders if (path := folder / run_folder.METRICS).is_file()]
    return bool(shown) and (
        not picture.is_file() or picture.stat().st_mtime_ns < max(path.stat().st_mtime_ns for path in shown)
    )


def over_runs(scores: list[dict[str, float]], folds: int | None) -> dict[str, Any]:
    """Return the mean and the 95 % interval of each metric over an arm's runs; there is no interval of one or two."""
    table: dict[str, Any] = {}
    for name in scores[0] if scores else ():
        if not all(name in each for each in scores):  # a metric that the images of some run do not define
            continue
        mean, half = _estimate([each[name] for each in scores], folds)
        table[name] = _summary(mean, half, 0.0, None if name.endswith("loss") else 1.0, n=len(scores))
    return table


def _summary(mean: float, half: float | None, least: float, most: float | None, *, n: int) -> dict[str, Any]:
    """A mean and its interval, which stays between the least and the greatest possible value."""
    low, high = (None, None) if half is None else (max(mean - half, least), mean + half)
    return {"mean": mean, "low": low, "high": high if high is None or most is None else min(high, most), "n": n}


def _estimate(values: list[float], folds: int | None) -> tuple[float, float | None]:
    """Return the mean over an arm's runs and half of its 95 % interval; None for one or two runs.

    Runs of different seeds are taken as independent (Student's t). Those of different folds are not, since any two share most of
    their training images: their variance is multiplied by 1/runs + test images / training images in the place of 1/runs.

    Source: Nadeau & Bengio 2003, "Inference for the Generalization Error", Machine Learning 52; for several seeds Bouckaert &
    Frank 2004, "Evaluating the Replicability of Significance Tests".
    """
    mean = statistics.fmean(values)
    if len(values) < FEWEST:
        return mean, None
    from scipy.special import stdtrit

    shared = 0.0 if folds is None else 1 / (folds - 1)
    deviation = statistics.stdev(values) * (1 / len(values) + shared) ** 0.5
    return mean, float(stdtrit(len(values) - 1, 0.975)) * deviation
