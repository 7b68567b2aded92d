"""Summarise all runs of a recipe in result.json: means and intervals over seeds. Imports no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from tlkit import files
from tlkit.record import run_folder


def gather(recipe_folder: Path, *, recipe: str, current: Mapping[tuple[str, int], Path]) -> dict[str, Any]:
    """Return the content of a recipe's result.json, from its run folders.

    Args:
        recipe_folder: runs/<recipe>.
        recipe: Its name.
        current: Run folder of each (arm, seed) of the recipe as last applied.
    """
    arms: dict[str, Any] = {}
    for (arm, seed), folder in current.items():
        result = run_folder.read(folder) if folder.is_dir() else None
        if result is not None:
            arms.setdefault(arm, {"seeds": {}})["seeds"][str(seed)] = {**result.model_dump(mode="json"), "folder": folder.name}
    for table in arms.values():
        finished = [run for run in table["seeds"].values() if run["status"] == "finished"]
        table["test"] = _over_seeds([run["test"] for run in finished if run["test"]])
        names = dict.fromkeys(name for run in finished for name in run["also"])
        if names:
            table["also"] = {
                name: _over_seeds([run["also"][name] for run in finished if name in run["also"]]) for name in names
            }
    kept = {folder.name for folder in current.values()}
    superseded = sorted(
        folder.parent.name for folder in recipe_folder.glob(f"*/{run_folder.RESULT}") if folder.parent.name not in kept
    )
    return {"format": run_folder.FORMAT, "recipe": recipe, "arms": arms, "superseded": superseded}


def summarise(recipe_folder: Path, *, recipe: str, current: Mapping[tuple[str, int], Path]) -> dict[str, Any]:
    """Rebuild a recipe's result.json under a lock; an unchanged file is not written.

    Returns:
        What it holds; the arguments are those of `gather`.

    Raises:
        OSError: it cannot be written.
    """
    path = recipe_folder / run_folder.RESULT
    record = gather(recipe_folder, recipe=recipe, current=current)
    if path.is_file() and path.read_bytes() == run_folder.text(record):
        return record
    with FileLock(recipe_folder / ".lock", timeout=60):
        record = gather(recipe_folder, recipe=recipe, current=current)
        files.replace(path, run_folder.text(record))
    return record


def stale_curves(recipe_folder: Path, folders: Iterable[Path]) -> bool:
    """Return whether curves.svg is missing or older than the metrics that it shows."""
    picture = recipe_folder / run_folder.CURVES
    shown = [path for folder in folders if (path := folder / run_folder.METRICS).is_file()]
    return bool(shown) and (
        not picture.is_file() or picture.stat().st_mtime_ns < max(path.stat().st_mtime_ns for path in shown)
    )


def _over_seeds(tests: list[dict[str, float]]) -> dict[str, Any]:
    """Return the mean and half of its 95 % interval over seeds (Student's t); no interval for one seed."""
    table: dict[str, Any] = {}
    for name in tests[0] if tests else ():
        if not all(name in test for test in tests):  # a metric that the images of some seed do not define
            continue
        values = [test[name] for test in tests]
        mean, half = statistics.fmean(values), None
        if len(values) > 1:
            from scipy.special import stdtrit

            half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / len(values) ** 0.5
        low, high = (None, None) if half is None else (mean - half, mean + half)
        table[name] = {"mean": mean, "low": low, "high": high, "n": len(values)}
    return table
