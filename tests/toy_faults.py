"""Apply the toy recipe again and again in forked processes, each with a fault.

    python toy_faults.py kill|fail RECIPE FOLDER [EVERY]

makes a fault at each change of a file that one apply makes, or at every EVERY-th of them, and prints a line of JSON for it: what was
changed, how the process with the fault ended, what differs from an undisturbed run after the next apply, and which files of a dead
process are left. A failing change fails with no space, an input or output error and a read-only file system, once and for good.

    python toy_faults.py moments RECIPE FOLDER COUNT

kills at random moments instead, of runs of several kinds, and says which checkpoints there were.

    python toy_faults.py power RECIPE FOLDER [EVERY]

writes what a disk may hold after a power failure behind each call, or behind every EVERY-th, and applies the recipe there: tests/toy_power.py.

Imports and the first apply happen once, before the forks. A checkpoint is written after every step.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # with more, a fork would wait for threads that it does not have

import toy_power
from conftest import TOY, TOY_RECIPE
from safetensors.torch import load_file
from toy_observers import Notes

from tlkit import api, files
from tlkit.errors import TlkitError
from tlkit.plugin import remembered
from tlkit.reports import curves

SETTINGS = ("freeze.backbone=true",)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
AT = {"kill": ("create", "write", "fsync", "replace", "unlink", "truncate"), "fail": ("write", "fsync", "replace", "truncate")}
RANDOM = {
    "phases, accumulation, mixing, running mean, dropout": (
        "schedule.epochs=3", "freeze={stem={epochs=1}}", 'optimizer={name="adamw", accumulate=2, ema=0.9}',
        'data.augment=["random_crop", "mixup"]', "head.options={dropout=0.3}",
    ),
    "prefix stored, early stopping": (
        "freeze={stem=true, block1=true}", "early_stopping.patience=1", "data.options.noise=2.0",
        "schedule={name='constant', epochs=6}",
    ),
    "prefix computed": ("schedule.epochs=3", "freeze={stem=true, block1=true}", 'data.augment=["random_crop", "hflip"]'),
}  # fmt: skip
CLOCK = {"times", "seconds", "images_per_second", "files"}
MESSAGE, KILLED, TRACEBACK = "message", "killed", "traceback"


class Disk:
    """Counts changes of files in this process, and at the n-th does what it is told before the change is made.

    Args:
        at: Number of the change, from 1; 0 counts only.
        fault: Called then, and at each later change if `lasting`.
    """

    def __init__(self, at: int = 0, fault: Callable[[], None] = lambda: None, *, lasting: bool = False) -> None:
        self.seen: list[str] = []
        self._at, self._fault, self._lasting = at, fault, lasting
        for name in ("replace", "rename", "link", "unlink", "fsync", "mkdir"):
            setattr(os, name, self._watched(name, getattr(os, name)))
        self._os_open, self._io_open = os.open, io.open
        os.open, builtins.open, io.open = self._opened, self._file, self._file

    def change(self, what: str, path: object) -> None:
        """Count a change, and make the fault where its time has come."""
        if isinstance(path, int):
            with contextlib.suppress(OSError):  # a system without /proc
                path = os.readlink(f"/proc/self/fd/{path}")
        if str(path).startswith("/proc") or str(path) == os.devnull:
            return
        name = _name(Path(os.fsdecode(path))) if isinstance(path, str | bytes | Path) else ""
        if name == ".holder":  # it tells others who runs this, and nothing depends on it
            return
        self.seen.append(f"{what} {name}".strip())
        if self._at and (len(self.seen) == self._at or (self._lasting and len(self.seen) > self._at)):
            self._fault()

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.change(name, args[-1] if name in ("replace", "rename", "link") else args[0])
            return real(*args, **more)

        return call

    def _opened(self, path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            self.change("create", path)
        return self._os_open(path, flags, *args, **more)

    def _file(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **more: Any) -> Any:
        if not set("wxa") & set(mode):
            return self._io_open(file, mode, buffering, *args, **more)
        assert "b" in mode, f"{file} is written as text"
        if not isinstance(file, int):
            self.change("create", file)
        raw = _Raw(file, mode.replace("b", ""), self)
        return raw if buffering == 0 else io.BufferedWriter(raw)


def _name(path: Path) -> str:
    """Return the name of a file, behind its folder's for a record of what was measured: that it is not kept is not said."""
    return f"{remembered.FOLDER}/{path.name}" if path.parent.name == remembered.FOLDER else path.name


class _Raw(io.FileIO):
    """A file whose writes are counted."""

    def __init__(self, file: Any, mode: str, disk: Disk) -> None:
        super().__init__(file, mode)
        self._disk = disk

    def write(self, content: Any) -> int:
        self._disk.change("write", self.name)
        return super().write(content)

    def truncate(self, size: int | None = None) -> int:
        self._disk.change("truncate", self.name)
        return super().truncate(size)


def apply(recipe: Path, folder: Path, settings: Sequence[str] = SETTINGS) -> tuple[str, str]:
    """Apply the recipe with its runs and its cache in a folder; return how it ended, and what was said."""
    os.environ["TLKIT_CACHE"] = str(folder / "cache")
    notes = Notes()
    try:
        applied = api.apply(recipe, settings, runs=folder / "runs", checkpoint_every=1e-6, observer=notes)
    except TlkitError as error:
        return MESSAGE, str(error)
    except BaseException:
        return TRACEBACK, traceback.format_exc()
    return (MESSAGE, "; ".join(map(str, applied.failures))) if applied.failures else ("", "; ".join(notes.notes))


def forked(work: Callable[[], Any]) -> Any:
    """Return what a call gives in a forked process; None if it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, json.dumps(work()).encode())
        os._exit(0)
    os.close(writing)
    answer = b""
    while part := os.read(reading, 1 << 16):
        answer += part
    os.close(reading)
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else None


def content(folder: Path) -> dict[str, Any]:
    """What a run left, without what a clock says."""
    (run,) = (path.parent for path in (folder / "runs").glob("*/*/result.json"))
    found: dict[str, Any] = {"names": sorted(path.name for path in run.rglob("*") if path.is_file() and path.name != ".holder")}
    found |= {
        path.name: {name: each.tolist() for name, each in load_file(path).items()}
        for path in run.rglob("*.safetensors")
        if path.is_file()
    }
    found |= {
        name: (run / name).read_bytes().hex() for name in ("predictions.npz", "evaluation.json", "split.json", "recipe.toml")
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((run / "result.json").read_text())
    summary = json.loads((run.parent / "result.json").read_text())["arms"]["main"]
    for each in (*lines, result, *summary["seeds"].values()):
        for key in CLOCK & each.keys():
            del each[key]
    return found | {"metrics.jsonl": lines, "result.json": result, "summary": summary}


def left(folder: Path) -> list[str]:
    """Files that a process wrote in part and that nothing uses."""
    lone = [path for path in folder.rglob("*.rows") if not path.with_suffix(".index").exists()]
    return sorted(
        str(path.relative_to(folder))
        for path in (*folder.rglob(".*"), *lone)
        if path.suffix not in (".lock", ".holder") and path.name not in (".lock", ".holder")
    )


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


def at_changes(kind: str, recipe: Path, folder: Path, every: int) -> None:
    """Make a fault at each change of a file, or at every n-th of them."""
    (folder / "counted").mkdir()

    def count() -> list[str]:
        disk = Disk()
        assert not apply(recipe, folder / "counted")[0]
        return disk.seen

    changes, wanted = forked(count), content(folder / "counted")
    chosen = [(number, change) for number, change in enumerate(changes, 1) if change.startswith(AT[kind])]
    ways = [(_kill, False)] if kind == "kill" else [(_fail(error), lasting) for error in ERRORS for lasting in (False, True)]
    faults = [(number, change, *way) for number, change in chosen for way in ways]
    for index, (number, change, fault, lasting) in enumerate(faults[::every]):
        place = folder / str(index)
        place.mkdir()

        def disturbed(
            number: int = number, fault: Callable[[], None] = fault, lasting: bool = lasting, place: Path = place
        ) -> list[str]:
            Disk(number, fault, lasting=lasting)
            return list(apply(recipe, place))

        ended, said = forked(disturbed) or (KILLED, "")
        print(
            json.dumps({"change": change, "ended": ended, "said": said} | _after(recipe, place, wanted, SETTINGS)), flush=True
        )
        shutil.rmtree(place)


def at_moments(recipe: Path, folder: Path, count: int) -> None:
    """Kill at random moments, the kinds of runs in turn; every third run is killed a second time."""
    chance, wanted, took = random.Random(28), {}, {}
    for kind, settings in RANDOM.items():
        place = folder / kind
        place.mkdir()
        began = time.monotonic()
        assert not forked(lambda place=place, settings=settings: list(apply(recipe, place, settings)))[0]
        took[kind], wanted[kind] = time.monotonic() - began, content(place)
    for number in range(count):
        kind = list(RANDOM)[number % len(RANDOM)]
        place, settings = folder / str(number), RANDOM[kind]
        place.mkdir()
        moments = []
        for _ in range(2 if number % 3 == 0 else 1):
            moments.append(chance.uniform(0.1, 0.9) * took[kind])
            _killed_after(moments[-1], lambda place=place, settings=settings: apply(recipe, place, settings))
        states = sorted(path.name for path in place.rglob("state-*"))
        print(json.dumps({"kind": kind, "moments": moments, "states": states} | _after(recipe, place, wanted[kind], settings)))
        shutil.rmtree(place)


def at_power(recipe: Path, folder: Path, every: int) -> None:
    """Let the power fail behind each call, or every n-th, of an apply."""
    whole = folder / "counted"
    whole.mkdir()
    calls = folder / "calls"

    def recorded() -> None:
        record = toy_power.Record(whole)
        assert not apply(recipe, whole)[0]
        calls.write_bytes(pickle.dumps(record.calls))

    forked(recorded)
    wanted = content(whole)
    made = pickle.loads(calls.read_bytes())
    found = list(toy_power.failures(made))
    saved = next(
        count for count, call in enumerate(made, 1) if call.what == "sync folder" and "state-" in made[count - 2].target
    )
    lost = [
        number
        for number, how, tree in found
        if number >= saved and how == "kept" and not any("state-" in name for name in tree)
    ]
    assert not lost, f"what was saved at call {saved} is gone after a power failure behind calls {lost}"
    for number, how, tree in [each for kind in ("kept", "names") for each in [one for one in found if one[1] == kind][::every]]:
        place = folder / f"{number}-{how}"
        place.mkdir()
        toy_power.write(tree, place)
        states = sorted(path.name for path in place.rglob("state-*"))
        after = _after(recipe, place, wanted, SETTINGS)
        print(json.dumps({"call": number, "how": how, "states": states, "files": len(tree)} | after), flush=True)
        shutil.rmtree(place)


def _killed_after(seconds: float, work: Callable[[], Any]) -> None:
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _after(recipe: Path, place: Path, wanted: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """What the next apply says, what differs then from an undisturbed run, and what is left of the dead process."""
    after, why = forked(lambda: list(apply(recipe, place, settings)))
    found = content(place) if not after else {}
    return {
        "after": why if after else "",
        "differing": [name for name in wanted if found.get(name) != wanted[name]],
        "left": left(place),
    }


def main(kind: str, recipe: Path, folder: Path, number: int = 1) -> None:
    """Make the faults of a kind."""
    curves.write = lambda path, _: files.replace(path, "<svg/>")  # the picture takes longer than the training
    if not recipe.exists():
        recipe.write_text(TOY_RECIPE)
    assert not apply(recipe, folder / "first")[0]
    if kind == "moments":
        at_moments(recipe, folder, number)
    elif kind == "power":
        at_power(recipe, folder, number)
    else:
        at_changes(kind, recipe, folder, number)


if __name__ == "__main__":
    sys.path.insert(0, str(TOY))
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:]))
