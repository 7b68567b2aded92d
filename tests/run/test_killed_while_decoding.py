"""A process that dies while it decodes a picture, as a decoder's fault would end it: the next apply names it, and ends with the same bits.

Pictures are decoded by threads of the run's own process, so there is no other process that could die alone.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_faults
from conftest import TOY, TOY_RECIPE, python_path
from PIL import Image
from toy_observers import Notes

from tlkit import api

DIES = """
import ctypes, sys
from pathlib import Path
from tlkit import api
from tlkit.engine.images import decode
real, seen = decode.decode, []
def dies(path, **more):
    seen.append(path)
    if len(seen) >= int(sys.argv[3]):
        print(f"{path} ", end="", flush=True)
        ctypes.string_at(0)
    return real(path, **more)
decode.decode = dies
api.apply(sys.argv[1], runs=sys.argv[2])
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 4)):
        for number in range(2 * count):
            path = tmp_path / "images" / part / f"class{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 255, (16, 16, 3), np.uint8)).save(path)
    path = tmp_path / "toy.toml"
    head, _, rest = TOY_RECIPE.partition("[data]")
    data = '[data]\nname = "folder"\nimage_size = 16\nbatch_size = 8\noptions.path = "images"\n\n[lr_groups]'
    path.write_text(head + data + rest.partition("[lr_groups]")[2])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 7, 23])
def test_next_apply_ends_with_the_same_bits(recipe: Path, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    folder = recipe.parent
    (folder / "killed").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(recipe), str(folder / "killed" / "runs"), str(moment)],
        env={**os.environ, "TLKIT_CACHE": str(folder / "killed" / "cache"), "PYTHONPATH": python_path(TOY)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGSEGV, done.stderr
    told: dict[str, Notes] = {name: Notes() for name in ("killed", "whole")}
    for name, notes in told.items():
        monkeypatch.setenv("TLKIT_CACHE", str(folder / name / "cache"))
        assert not api.apply(recipe, runs=folder / name / "runs", observer=notes).failures
    (line,) = [each for each in told["killed"].notes if "pictures being decoded then: " in each]
    pictures, _, remedy = line.partition("then: ")[2].partition(". ")
    assert set(done.stdout.split()) & set(pictures.split(", "))
    assert remedy == "If it is killed again, leave them out one by one"
    assert told["whole"].notes == [each for each in told["killed"].notes if each != line]
    assert toy_faults.content(folder / "killed") == toy_faults.content(folder / "whole")
    assert toy_faults.left(folder / "killed") == []
