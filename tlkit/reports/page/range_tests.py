"""The range tests of learning rates that were made of the shown recipes, as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlkit.record import range_tests
from tlkit.record.range_tests import RangeTest
from tlkit.reports import rate_table
from tlkit.reports.page.charts import COLOURS, Chart, rounded
from tlkit.reports.page.runs import ShownArm

_ABOVE = 1.5  # times the first loss, over which a loss is not drawn: what diverges would press all else flat


def chart(arms: Sequence[ShownArm]) -> Chart | None:
    """Draw the smoothed loss of each test over the rate, with a mark where the valley rule suggests one; None where none was made."""
    shown = dict.fromkeys((run.folder.parent, run.result.arm) for arm in arms for run in arm.runs)
    tests = [test for folder, arm in shown for test in range_tests.load(folder) if test.rates and test.arm == arm]
    if not tests:
        return None
    data = [trace for place, test in enumerate(tests) for trace in _traces(test, COLOURS[place % len(COLOURS)])]
    low, high = min(min(test.smoothed) for test in tests), _ABOVE * max(test.smoothed[0] for test in tests)
    layout = {
        "xaxis": {"title": {"text": "learning rate of the group with the largest"}, "type": "log", "tickformat": "~e"},
        "yaxis": {"title": {"text": "training loss"}, "range": [rounded(low - 0.05 * (high - low)), rounded(high)]},
        "hovermode": "closest",
    }
    words = "; ".join(f"{test.arm}, {test.title}: {rate_table.settings(test)}" for test in tests)
    return Chart(
        "range-tests", "Range tests of learning rates", f"Line chart of the training loss at rising learning rates. {words}.",
        data, layout,
    )  # fmt: skip


def _traces(test: RangeTest, colour: str) -> list[dict[str, Any]]:
    name = f"{test.arm}, {test.title}"
    curve: dict[str, Any] = {
        "x": [rounded(rate) for rate in test.rates],
        "y": [rounded(loss) for loss in test.smoothed],
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "line": {"color": colour, "width": 2},
    }
    if test.valley is None:
        return [curve]
    nearest = min(range(len(test.rates)), key=lambda place: abs(test.rates[place] / test.valley - 1) if test.valley else 0.0)
    mark = {
        "x": [rounded(test.valley)],
        "y": [rounded(test.smoothed[nearest])],
        "type": "scatter",
        "mode": "markers",
        "name": f"{name}: valley",
        "showlegend": False,
        "marker": {"color": colour, "size": 10},
        "hovertemplate": f"%{{x}}<extra>{rate_table.settings(test)}</extra>",
    }
    return [curve, mark]
