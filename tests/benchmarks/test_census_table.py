"""The table of the census: a line for each network, the one that gains most first."""

from benchmarks import census


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


def test_without_results_the_table_is_empty() -> None:
    assert census.table([]).count("\n| ") == 0
