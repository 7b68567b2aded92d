"""The scripts of docs/notes run, on small shapes."""

import runpy
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize(
    ("script", "arguments", "lines"),
    [("depthwise_input_gradient.py", ["16", "6", "3"], 2), ("depthwise_weight_gradient.py", ["16", "6"], 6)],
)
def test_a_reproduction_runs(
    script: str, arguments: list[str], lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(ROOT / "docs" / "notes" / script), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == lines
    assert all("16 channels 6 px" in line and line.endswith(" ms") for line in said)
