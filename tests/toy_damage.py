"""Damage each file of an interrupted run and of its cache, one at a time, and apply, plan, predict, report and export there.

    python toy_damage.py RECIPE FOLDER [EVERY]

prints a line of JSON for each damage, or for every EVERY-th: which file, how, how apply ended, what it said, what differs from an
undisturbed run, and what is wrong of the readers: an answer that is not the one of a sound folder, or a message that does not name the file.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import toy_faults
from conftest import TOY, TOY_RECIPE
from toy_damages import empty, flip, truncate
from toy_faults import SETTINGS, apply, content, forked

from tlkit import api, files
from tlkit.errors import TlkitError
from tlkit.reports import curves
from tlkit.reports.page import runs
from tlkit.run import loading

KILLED_AT = 0.72  # of the changes of files: in the second epoch, after a step that was saved


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: tuple[Callable[[Path], None], ...] = (flip, truncate, empty, folder)


def readers(recipe: Path, place: Path) -> dict[str, Any]:
    """What plan, predict, report and export find of a run, or their message. Export is asked last: it writes beside."""
    (run,) = (path.parent for path in (place / "runs").glob("*/*/checkpoint"))
    found: dict[str, Any] = {}

    def told(name: str, reader: Callable[[], Any]) -> None:
        try:
            found[name] = reader()
        except TlkitError as error:
            found[name] = f"message: {' '.join([error.problem, *error.hints])}".replace(str(place), "")
        except Exception:  # whatever it is, it is no message: the caller counts it as wrong
            found[name] = f"traceback: {traceback.format_exc()[-600:]}"

    def predicted() -> Any:
        tensors = loading.load(run, arm=None, device=torch.device("cpu")).network.tensors()
        return {name: tensor.tolist() for name, tensor in tensors.items()}

    def reported() -> Any:
        return repr([(shown.metrics, shown.plan, shown.evaluation, shown.scores) for shown in runs.read([run])])

    (place / "out").mkdir()
    told("plan", lambda: repr([each.phases for each in api.plan(recipe, SETTINGS, runs=place / "runs").values()]))
    told("predict", predicted)
    told("report", reported)
    told("export", lambda: api.export(run, "safetensors", place / "out" / "net.safetensors").file.read_bytes().hex())
    return found


def at_damages(recipe: Path, scratch: Path, every: int) -> None:
    whole, stopped = scratch / "whole", scratch / "stopped"
    whole.mkdir()
    stopped.mkdir()

    def count() -> int:
        disk = toy_faults.Disk()
        ended, said = apply(recipe, whole)
        assert not ended, said
        return len(disk.seen)

    changes, wanted = forked(count), content(whole)

    def killed() -> None:
        toy_faults.Disk(int(changes * KILLED_AT), toy_faults._kill)
        apply(recipe, stopped)

    assert forked(killed) is None
    os.environ["TLKIT_CACHE"] = str(stopped / "cache")
    right = forked(lambda: readers(recipe, stopped))
    if broken := {name: each for name, each in right.items() if str(each).startswith("traceback")}:
        raise AssertionError(broken)
    shutil.rmtree(stopped / "out", ignore_errors=True)
    names = [path for path in sorted(stopped.rglob("*")) if path.is_file() and path.suffix not in (".lock", ".holder")]
    chosen = [
        (path.relative_to(stopped), damage)
        for path in names
        if path.name not in (".lock",)
        for damage in DAMAGES
        if path.stat().st_size or damage is folder  # nothing of an empty file changes
    ]
    for index, (path, damage) in enumerate(chosen[::every]):
        place = scratch / str(index)
        shutil.copytree(stopped, place)
        damage(place / path)
        os.environ["TLKIT_CACHE"] = str(place / "cache")
        read = forked(lambda place=place: readers(recipe, place)) or {}
        ended, said = forked(lambda place=place: list(apply(recipe, place))) or ("died", "")
        after = content(place) if not ended else {}
        wrong = [
            (name, str(each)[:800])
            for name, each in read.items()
            if each != right[name] and not (str(each).startswith("message") and _named(path, str(each)))
        ]
        differing = [name for name in wanted if not ended and after.get(name) != wanted[name]]
        if (
            "not exactly: " in said
        ):  # of what a run was computed with, resolved.toml alone knows: then it says that it is not exact
            differing = [name for name in differing if name not in ("result.json", "summary")]
        bad = ended not in ("", "message") or (ended == "message" and not _named(path, said)) or differing or wrong or not read
        line = {"file": str(path), "damage": damage.__name__, "ended": ended, "said": said[-1500:], "differing": differing}
        print(json.dumps(line | {"readers": wrong, "bad": bool(bad), "after": "", "left": []}), flush=True)
        shutil.rmtree(place)


def _named(path: Path, said: str) -> bool:
    """Whether a message names a file, or the run that it belongs to."""
    return path.name in said or f"{path.parent.name}: " in said


def main(recipe: Path, scratch: Path, every: int = 1) -> None:
    curves.write = lambda path, _: files.replace(path, "<svg/>")
    if not recipe.exists():
        recipe.write_text(TOY_RECIPE)
    assert not apply(recipe, scratch / "first")[0]
    at_damages(recipe, scratch, every)


if __name__ == "__main__":
    sys.path.insert(0, str(TOY))
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
