"""One contender doing one piece of work in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers.contract import Spec

ROOT = Path(__file__).parents[2]
CONTENDERS = ("tutorial", "fastai", "lightning", "tlkit")
_MODULES = {"tutorial": "tutorial", "fastai": "fastai_", "lightning": "lightning_", "timm": "timm_", "tlkit": "tlkit_"}
_OWN = ("fastai", "lightning")  # with an environment of their own
MEASURED = "measured"  # below tlkit's cache: what was measured of this machine


@dataclass(frozen=True)
class Cell:
    """One arm of one piece of work.

    Attributes:
        work: Name in `work.WORKS`.
        arm: "head", "last" or "all".
        variant: "" as it is; "views" with 5 fixed augmented views; "again" with another seed on a store that is there,
            tlkit only.
    """

    work: str
    arm: str
    variant: str = ""

    @property
    def name(self) -> str:
        """As in the raw lines."""
        return "/".join(filter(None, (self.work, self.arm, self.variant)))


class UnfinishedError(TimeoutError):
    """A contender did not end within its limit.

    Args:
        message: Who, within how long, and how far it came.
        stages: Seconds from the start of its process until each stage that it reached: see `contract.Clock.reach`.
        answer: What it answered before it did not end; None where it did not come to that.
    """

    def __init__(self, message: str, stages: dict[str, float], answer: dict[str, Any] | None) -> None:
        super().__init__(message)
        self.stages, self.answer = stages, answer


def interpreter(contender: str, venvs: Path, *, limit: float | None = None) -> str:
    """Return the Python of a contender, its environment made where there is none; within a limit of seconds, if there is one."""
    if contender not in _OWN:
        return sys.executable
    python = venvs / contender / "bin" / "python"
    if not python.is_file():
        print(f"{python.parents[1]}: making an environment for {contender}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venvs / contender)], check=True, timeout=limit)
        pins = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in ("torch", "torchvision")]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *pins, contender], check=True, timeout=limit)
    return str(python)


def run(
    cell: Cell, contender: str, work: Spec, *, python: str, epochs: int, measured: Path, limit: float | None = None
) -> dict[str, Any]:
    """Let a contender do a cell once.

    Args:
        cell: Which.
        contender: Who.
        work: Without arm, epochs and folders.
        python: Its interpreter.
        epochs: That are done.
        measured: Where what tlkit measured of the machine is kept between trials.
        limit: Seconds after which a process is ended; None for no limit.

    Returns:
        The line that it printed, the seconds of the whole process and until its clock began, and those until each stage that it reached.

    Raises:
        UnfinishedError: it did not end within the limit.
    """
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        if measured.is_dir() and contender == "tlkit":
            shutil.copytree(measured, cache / MEASURED)
        views = 5 if cell.variant == "views" else 0
        spec = replace(work, arm=cell.arm, epochs=epochs, views=views, scratch=scratch, cache=str(cache))
        if cell.variant == "again":
            _process(contender, spec, python=python, limit=limit)
            spec = replace(spec, seed=work.seed + 1)
        known = set((cache / MEASURED).glob("*"))
        done = _process(contender, spec, python=python, limit=limit)
        if contender == "tlkit":
            done["measuring_seconds"] = _seconds(set((cache / MEASURED).glob("*")) - known)
            if (cache / MEASURED).is_dir():
                shutil.copytree(cache / MEASURED, measured, dirs_exist_ok=True)
    return done


def command(arguments: Sequence[str], *, measured: Path) -> float:
    """Return the seconds of a whole `tlkit` command with nothing stored."""
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        if measured.is_dir():
            shutil.copytree(measured, cache / MEASURED)
        whole = [sys.executable, "-m", "tlkit", *arguments, "--runs", str(Path(scratch) / "runs")]
        began = time.perf_counter()
        subprocess.run(whole, cwd=ROOT, env={**os.environ, "TLKIT_CACHE": str(cache)}, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - began
        if (cache / MEASURED).is_dir():
            shutil.copytree(cache / MEASURED, measured, dirs_exist_ok=True)
    return seconds


def _seconds(files: Iterable[Path]) -> float | None:
    """Return how long it took to measure the machine, from what tlkit kept of it; None where that does not say.

    The kernels of convolutions are kept beside, as a list, and were measured in the same time.
    """
    try:
        kept = [json.loads(file.read_text())["value"] for file in files]
        return float(sum(each["seconds"] for each in kept if not isinstance(each, list)))
    except (KeyError, TypeError, ValueError):
        return None


def _process(contender: str, spec: Spec, *, python: str, limit: float | None) -> dict[str, Any]:
    path = spec.write(Path(spec.scratch) / "spec.json")
    began_at, began = time.time(), time.perf_counter()
    command = [python, "-m", f"benchmarks.peers.{_MODULES[contender]}", str(path)]
    out, said = Path(spec.scratch) / "stdout", Path(spec.scratch) / "stderr"
    with out.open("wb") as stdout, said.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr, start_new_session=True)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            ended = process.poll()
            with suppress(ProcessLookupError):  # its data loader's workers too, which would go on for some seconds
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    whole = time.perf_counter() - began
    told = said.read_text(encoding="utf-8", errors="replace")
    stages = _stages(told, began_at)
    lines = out.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if ended is None:
        came = ", ".join(f"{stage} after {seconds:.1f} s" for stage, seconds in stages.items()) or "nothing"
        raise UnfinishedError(
            f"{contender} did not end within {limit:.0f} s; it reached: {came}",
            stages,
            json.loads(lines[-1]) if lines else None,
        )
    if ended:
        raise SystemExit(f"{contender} failed with code {ended}:\n{told[-4000:]}")
    line = json.loads(lines[-1])
    return line | {"whole": whole, "start": line.pop("began_at") - began_at, "stages": stages}


def _stages(told: str, began_at: float) -> dict[str, float]:
    """Return the seconds until each stage that a contender reached, from what it told on stderr."""
    lines = [json.loads(line) for line in told.splitlines() if line.startswith('{"reached"')]
    return {line["reached"]: line["at"] - began_at for line in lines}
