"""Bring a recipe's folder up to date after its runs: result.json, curves.svg and report.html. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.errors import RunFailed, TlkitError
from tlkit.recipe.recipe import Recipe
from tlkit.record import epoch_lines, file_lock, findings, results, run_folder
from tlkit.record.run_folder import Coordinates
from tlkit.reports.page import extra


@dataclass(frozen=True)
class Summary:
    """The summary of a recipe's runs, in its folder.

    Attributes:
        folder: runs/<recipe>.
        recipe: The recipe.
        file: Name of its file.
        current: Run folder of each of its runs.
        note: Told what cannot be drawn.
        study: The study of its search; None without.
    """

    folder: Path
    recipe: Recipe
    file: str
    current: Mapping[Coordinates, Path]
    note: Callable[[str], None]
    study: str | None = None

    def conclude(self, *, drawn: bool) -> tuple[dict[str, Any], tuple[RunFailed, ...]]:
        """Bring it up to date. Where it cannot be written, that is a failure if anything was trained, else it is only said.

        Args:
            drawn: Something was trained or inspected: draw curves and report even if they are up to date.

        Returns:
            What result.json holds, and what failed.
        """
        recipe, failed = self.recipe, tuple[RunFailed, ...]()
        head = results.Head(recipe.name, self.file, recipe.folds, recipe.baseline, self.study, recipe.ensemble)
        if self.folder.is_dir():
            try:
                earlier = results.read(self.folder) or {}
                record, kept = results.summarise(self.folder, head, self.current)
                changed = any(earlier.get(key) != record.get(key) for key in ("baseline", "ensembles"))
                if kept and (drawn or self._stale() or changed):
                    draw(self.folder, [(arm, folder) for (arm, _, _), folder in self.current.items()], self.note)
                return record, ()
            except OSError as error:
                if drawn:
                    failed = (files.unwritable(self.folder, error),)
                else:  # in a folder that is read-only: the runs are finished, and what they learned is there
                    why = f"{self.folder}: cannot be written: {error.strerror or error}"
                    self.note(f"{why}; {run_folder.RESULT}, {run_folder.CURVES} and {run_folder.REPORT} stay as they are")
        return results.gather(self.folder, head, self.current), failed

    def _stale(self) -> bool:
        """Return whether the curves, or the report where its libraries are installed, are missing or older than what they show."""
        names = (run_folder.CURVES,) if extra.missing() else (run_folder.CURVES, run_folder.REPORT)
        return any(results.stale(self.folder / name, self.current.values()) for name in names)


def draw(recipe_folder: Path, folders: Sequence[tuple[str, Path]], note: Callable[[str], None]) -> None:
    """Draw the curves of every arm beside the recipe's result, and write the report where its libraries are installed."""
    from tlkit.reports import curves  # brings matplotlib, which a plan does not need
    from tlkit.reports.page import page

    path, page_path = recipe_folder / run_folder.CURVES, recipe_folder / run_folder.REPORT
    begun = {folder: result for _, folder in folders if (result := run_folder.read(folder)) is not None}
    with file_lock.held(recipe_folder / ".lock"):
        files.remove_unfinished(path)
        files.remove_unfinished(recipe_folder / findings.FILE)  # here, for finished runs are not inspected again
        curves.write(path, [(arm, epoch_lines.read(folder)) for arm, folder in folders])
        if absent := extra.missing():
            note(absent)
        elif any(result.status == "finished" for result in begun.values()):
            files.remove_unfinished(page_path)
            try:
                page.write(page_path, list(begun))
            except TlkitError as error:  # a run's file that is damaged, or of another version, takes no result away
                note(f"{page_path}: is not written: {' '.join([error.problem, *error.hints])}")
