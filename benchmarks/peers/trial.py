"""One contender doing one piece of work in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
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


def interpreter(contender: str, venvs: Path) -> str:
    """Return the Python of a contender, its environment made where there is none."""
    if contender not in _OWN:
        return sys.executable
    python = venvs / contender / "bin" / "python"
    if not python.is_file():
        print(f"{python.parents[1]}: making an environment for {contender}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venvs / contender)], check=True)
        pins = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in ("torch", "torchvision")]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *pins, contender], check=True)
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
        The line that it printed, and the seconds of the whole process and until its clock began.

    Raises:
        TimeoutError: it did not end within the limit.
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
    try:
        done = subprocess.run(
            [python, "-m", f"benchmarks.peers.{_MODULES[contender]}", str(path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{contender} did not end within {error.timeout:.0f} s") from error
    whole = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{contender} failed with code {done.returncode}:\n{done.stderr[-4000:]}")
    line = json.loads(done.stdout.strip().splitlines()[-1])
    return line | {"whole": whole, "start": line.pop("began_at") - began_at}
