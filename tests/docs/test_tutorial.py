"""The tutorial's cells run, in a kernel of their own."""

from pathlib import Path

import nbclient
import nbformat
import pytest
from conftest import ROOT


@pytest.mark.slow
def test_every_cell_of_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells), "the page is stored without outputs"
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    html = "".join(output.data.get("text/html", "") for output in shown if output.output_type == "execute_result")
    assert "val accuracy" in html
    assert any("image/png" in output.get("data", {}) for output in shown), "the plot is shown"
    assert not any(output.output_type == "error" for output in shown)
