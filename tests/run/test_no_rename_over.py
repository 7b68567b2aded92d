"""A file system that cannot rename a file over another: said in one sentence, and nothing of a run is lost by it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import toy_faults

from tlkit import api

SETTINGS = ("freeze.backbone=true",)


@pytest.fixture
def no_rename_over(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_it_is_said_and_a_run_goes_on_elsewhere_with_the_same_bits(
    toy_recipe: Path, no_rename_over: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    folder = toy_recipe.parent
    monkeypatch.setenv("TLKIT_CACHE", str(folder / "there" / "cache"))
    done = api.apply(toy_recipe, SETTINGS, runs=folder / "there" / "runs")
    (error,) = done.failures
    assert "the file system cannot rename a file over another" in error.problem
    assert "\n" not in error.problem
    assert not [path for path in (folder / "there").rglob(".*.*") if path.suffix not in (".lock", ".holder")]
    monkeypatch.undo()
    monkeypatch.setattr("tlkit.reports.summary.draw", lambda *_: None)
    for name in ("there", "whole"):
        monkeypatch.setenv("TLKIT_CACHE", str(folder / name / "cache"))
        assert not api.apply(toy_recipe, SETTINGS, runs=folder / name / "runs").failures
    assert toy_faults.content(folder / "there") == toy_faults.content(folder / "whole")
