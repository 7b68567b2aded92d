"""A clock that was set back between two commands: runs continue with the same bits, and what is finished stays so."""

import os
import time
from pathlib import Path

import pytest
import toy_faults
from conftest import Cli
from toy_observers import SignalAfter

from tlkit import api
from tlkit.errors import Interrupted

SETTINGS = ("freeze={stem=true}", "schedule.epochs=3")
FUTURE = 4e9  # seconds since 1970: in 2096


def aged(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (FUTURE, FUTURE))


@pytest.mark.slow
def test_run_and_cache_written_in_the_future_give_the_same_bits(
    toy_recipe: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = toy_recipe.parent
    for name in ("whole", "stopped"):
        (folder / name).mkdir()
        monkeypatch.setenv("TLKIT_CACHE", str(folder / name / "cache"))
        if name == "whole":
            api.apply(toy_recipe, SETTINGS, runs=folder / name / "runs")
    with pytest.raises(Interrupted):
        api.apply(
            toy_recipe, SETTINGS, runs=folder / "stopped" / "runs", observer=SignalAfter(2, step=3), checkpoint_every=1e-6
        )
    aged(folder / "stopped")
    monkeypatch.setattr(time, "time", lambda: 1e8)  # in 1973
    done = api.apply(toy_recipe, SETTINGS, runs=folder / "stopped" / "runs")
    assert done.changed
    assert toy_faults.content(folder / "stopped") == toy_faults.content(folder / "whole")
    aged(folder / "stopped")
    assert not api.apply(toy_recipe, SETTINGS, runs=folder / "stopped" / "runs").changed
    code, said, _ = run("runs", folder / "stopped" / "runs")
    assert code == 0
    assert " now " in said or said.rstrip().endswith("now") or "now\n" in said
