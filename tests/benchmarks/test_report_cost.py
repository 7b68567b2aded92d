"""The cost of the report: the side without it makes none, and trains to the same bits."""

from pathlib import Path

import pytest

from benchmarks import report_cost, versus
from tlkit import api


def test_the_side_without_the_report_trains_to_the_same_bits(toy_recipe: Path) -> None:
    pytest.importorskip("plotly")
    with report_cost.without_report():
        without = api.apply(toy_recipe, runs=toy_recipe.parent / "without").folder
    with_ = api.apply(toy_recipe, runs=toy_recipe.parent / "with").folder
    made = [{path.name for path in folder.rglob("*") if path.is_file()} for folder in (with_, without)]
    assert made[0] - made[1] == {"report.html", "report.npz", "inspection.npz"}
    weights = [next(folder.rglob("weights.safetensors")).read_bytes() for folder in (without, with_)]
    assert weights[0] == weights[1]


def test_what_the_report_adds_is_of_pairs() -> None:
    pairs = [
        {"before": {versus.WHOLE: before}, "after": {versus.WHOLE: after}} for before, after in ((10, 11), (10, 10.5), (20, 21))
    ]
    assert report_cost.said(pairs) == ("without the report 10.0 s, with it 11.0 s: it adds 5.0 % (5.0 to 10.0, n = 3 pairs)")
