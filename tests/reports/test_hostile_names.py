"""Names of classes, files and runs that hold scripts stand on a page as text: nothing of them is run, in the page's text or in its charts.

Names that are not UTF-8 stand there too.
"""

from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, dumped

from tlkit.record.report_data import ReportData
from tlkit.reports.page import evaluation
from tlkit.reports.page.evaluation import ShownEvaluation
from tlkit.reports.page.seen import Evaluated

SCRIPT = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><a href='javascript:1'>a</a>"
)
NAMES = [f"cat {SCRIPT}", f"dog {SCRIPT}"]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    per_class = {name: {"images": 5, "precision": 0.5, "recall": 0.5, "f1": 0.5} for name in NAMES}
    about = {
        "map": {"method": "PCA", "labels": NAMES * 2, "said": NAMES[::-1] * 2, "pictured": [0], "explained": [0.5, 0.4]},
        "images": [{"row": 0, "position": 0, "kind": "wrong", "label": NAMES[0], "said": NAMES[1], "probability": 0.9}],
        "notes": [SCRIPT, "bees/\udcff.jpg"],
    }
    arrays = {
        "map_points": np.arange(8.0).reshape(4, 2),
        "map_images": np.zeros((1, 8, 8, 3), np.uint8),
        "images": np.zeros((1, 8, 8, 3), np.uint8),
    }
    answers = Evaluated(
        SCRIPT, "test", {"confusion": [[3, 2], [1, 4]], "per_class": per_class}, None, ReportData(about, arrays)
    )
    shown = ShownEvaluation(SCRIPT, SCRIPT, 10, {"accuracy": 0.7, "loss": 0.5}, answers, [SCRIPT], SCRIPT)
    evaluation.write(tmp_path / "page.html", shown)
    return tmp_path / "page.html"


def test_names_are_never_markup_of_the_page(page: Path) -> None:
    text = page.read_text()
    assert "<script>document" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;document" in text
    assert r"bees/\udcff.jpg" in text


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
def test_a_browser_runs_nothing_of_names(page: Path, tmp_path: Path) -> None:
    drawn = dumped(page.as_uri(), tmp_path)
    assert "main-svg" in drawn  # Plotly drew its charts
    assert "<title>owned" not in drawn
    assert '<img src="x"' not in drawn
    assert 'href="javascript:' not in drawn
