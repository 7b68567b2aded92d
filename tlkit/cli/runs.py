"""Commands that compare finished runs: a list of all of them, and the differences of two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlkit.cli import console
from tlkit.cli.options import ArmOption, JsonOption, RunArgument, copy_of_all, is_address
from tlkit.errors import SOME_FAILED

if TYPE_CHECKING:
    from tlkit.record.run_list import ListedRun


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Every run in it and below it.")] = Path("runs"),
    remove: Annotated[
        bool, typer.Option("--rm", help="Say which superseded runs would be removed, and what that frees.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --rm: remove them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List runs, those of older versions of a recipe too, and the keys in which they differ."""
    from tlkit.record import run_list
    from tlkit.reports import run_tables

    if yes and not remove:
        raise typer.BadParameter("--yes is for --rm, which removes superseded runs; give both, or neither to list runs")
    if remove and is_address(folder):
        raise typer.BadParameter(f"--rm removes runs of this machine, and {folder} is an address; list them without --rm")
    folder = copy_of_all(folder)
    listed = run_list.below(folder)
    if remove:
        _remove(folder, [run for run in listed if run.superseded], really=yes, as_json=as_json)
    elif as_json:
        console.as_json({"format": 1, "folder": str(folder), "runs": [_record(run) for run in listed]})
    else:
        console.show(run_tables.runs(folder, listed))


def diff(first: RunArgument, second: RunArgument, arm: ArmOption = None, as_json: JsonOption = False) -> None:
    """Show in what two runs differ: recipe, plan, result, and weights stage by stage."""
    from tlkit.record import run_choice, run_differences
    from tlkit.reports import run_tables

    chosen = [run_choice.choose(path, arm) for path in (first, second)]
    for each in chosen:
        if each.why:
            console.say(f"{each.folder}: {each.why}")
    found = run_differences.differences(chosen[0].folder, chosen[1].folder)
    if not as_json:
        console.show(run_tables.differences(found))
        return
    parts = {"recipe": found.recipe, "plan": found.plan, "result": found.result}
    record: dict[str, object] = {name: {key: list(values) for key, values in part.items()} for name, part in parts.items()}
    record["weights"] = [
        {"stage": each.stage, "change": each.change, "parameters": each.parameters, "only_one": list(each.only_one)}
        for each in found.weights
    ]
    console.as_json({"format": 1, "runs": [str(folder) for folder in found.folders], **record, "note": found.note})


def _remove(folder: Path, superseded: list[ListedRun], *, really: bool, as_json: bool) -> None:
    """Say what removing frees, and remove it if that is asked for."""
    from tlkit.record import run_list

    errors = [run_list.remove(run) if really else "" for run in superseded]
    freed = sum(run.bytes for run, why in zip(superseded, errors, strict=True) if not why)
    if as_json:
        told = [
            {"folder": str(run.folder), "bytes": run.bytes, "error": why or None}
            for run, why in zip(superseded, errors, strict=True)
        ]
        console.as_json({"format": 1, "folder": str(folder), "removed": really, "bytes": freed, "superseded": told})
    else:
        _say_removed(superseded, errors, freed, really=really)
    if any(errors):
        raise typer.Exit(SOME_FAILED)


def _say_removed(superseded: Sequence[ListedRun], errors: Sequence[str], freed: int, *, really: bool) -> None:
    from tlkit import units

    for run, why in zip(superseded, errors, strict=True):
        console.line(f"{run.folder}: {units.size(run.bytes)}{f', {why}' if why else ''}")
    failed = sum(map(bool, errors))
    count = f"{len(superseded) - failed} superseded run{'' if len(superseded) - failed == 1 else 's'}"
    if really:
        console.line(f"{count} removed, {units.size(freed)} freed.")
    elif superseded:
        console.line(f"{count}: removing would free {units.size(freed)}; --rm --yes removes.")
    else:
        console.line("No superseded runs.")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _record(run: ListedRun) -> dict[str, object]:
    result = run.result
    return {
        "folder": str(run.folder),
        "recipe": result.recipe if result else None,
        "arm": result.arm if result else None,
        "seed": result.seed if result else None,
        "fold": result.fold if result else None,
        "status": result.status if result else None,
        "superseded": run.superseded,
        "test": result.test if result else None,
        "validation": result.validation if result else None,
        "written": _time(run.written),
        "last_heard": None if run.heard is None else _time(run.heard),
        "bytes": run.bytes,
        "differs": dict(run.differs),
        "error": run.error or None,
    }
