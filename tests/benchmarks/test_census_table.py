"""The census of many networks: what is measured, kept and continued, and the table, the network that gains most first."""

from pathlib import Path

import pytest

from benchmarks import census
from tlkit.errors import TlkitError


def test_the_table_has_a_line_for_each_network_and_says_how_it_was_measured() -> None:
    found = census.measure("toy")
    row = {"words": f"8 channels, 4x4 pixels, 3x3, depthwise, {census.FORM}", "part": "input", "share": 0.4}
    gains = {**found, "network": "gains", "speedup": 2.5, "replaced": 3, "rows": [row | {"times_the_best_rate": 31.0}]}
    first, second = (line for line in census.table([found, gains]).splitlines() if line.startswith(("| toy", "| gains")))
    assert first.startswith("| gains | 16 | ")
    assert first.endswith("| 3 | 2.50 times | 31 times: 8 channels, 4x4 pixels, 3x3, depthwise, gradient of the input |")
    assert second.startswith("| toy | 16 | ")
    assert all(row["share"] >= census.WORST for row in found["rows"])
    assert f"torch {found['torch']}; {found['date']}." in census.table([found])


def test_a_row_of_earlier_kernels_has_a_star() -> None:
    row = {"image_size": [16, 16], "step_seconds": 0.1, "convolutions": 0.5, "replaced": 1, "speedup": 1.0, "rows": [],
           "date": "2026-01-01", **census._versions()}  # fmt: skip
    shown = census.table([row | {"network": "today"}, row | {"network": "earlier", "kernels": "of other kernels"}])
    assert "| today | 16 |" in shown
    assert "| earlier \\* | 16 |" in shown
    assert "\n\\* Measured with the kernels of an earlier version" in shown
    assert "\\*" not in census.table([row | {"network": "today"}])


def test_without_results_the_table_is_empty() -> None:
    assert census.table([]).count("\n| ") == 0


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the networks that were measured, of three, where "broken" fails and the page lies in tmp_path."""
    done: list[str] = []

    def measure(name: str) -> census.Result:
        done.append(name)
        if name == "broken":
            raise TlkitError("broken: cannot train on 8 images of 16 px.")
        return {
            "network": name, "image_size": [16, 16], "step_seconds": 0.1, "convolutions": 0.5, "replaced": 1, "speedup": 1.0,
            "rows": [], "date": "2026-01-01", **census._versions(),
        }  # fmt: skip

    (tmp_path / "page.md").write_text("<!-- census -->\n<!-- end of census -->\n")
    monkeypatch.setattr(census, "ROOT", tmp_path)
    monkeypatch.setattr(census, "_networks", lambda: ["a", "broken", "c"])
    monkeypatch.setattr(census, "measure", measure)
    return done


def test_the_census_goes_on_after_a_failure_and_where_it_was_stopped(measured: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert census.main(["--page", str(page)]) == 3
    assert measured == ["a", "broken", "c"]
    assert [line for line in page.read_text().splitlines() if line.startswith(("| a", "| c"))]
    measured.clear()
    census.main(["--page", str(page)])
    assert measured == ["broken"]
    measured.clear()
    census.main(["a", "c", "--page", str(page)])
    assert measured == []
    census.main(["a", "--again", "--page", str(page)])
    assert measured == ["a"]
    (kept,) = tmp_path.rglob("census.jsonl")
    kept.write_text(kept.read_text().replace(census._versions()["kernels"], "of other kernels"))
    measured.clear()
    assert census.main(["--page", str(page), "--minutes", "-1"]) == 0
    assert measured == []
    census.main(["--page", str(page)])
    assert measured == ["a", "broken", "c"]
