"""What a terminal and a report say of a search: the best trial first, by the metric and then the loss, and each trial as a line."""

import pytest
import toy_search
from rich.console import Console

from tlkit.record import search_record
from tlkit.reports import search_table
from tlkit.reports.page import search as page


def test_best_is_finished_and_decided_by_the_loss_where_values_are_equal() -> None:
    record = toy_search.record()
    assert search_record.best_of(record.trials, maximize=True) == 2
    assert [each.number for each in record.ranked()] == [2, 5, 1, 0, 3, 4]  # finished, pruned, failed
    assert search_record.best_of(record.trials, maximize=False) == 0
    assert search_record.best_of(record.trials[3:5], maximize=True) is None


def test_table_says_what_is_pruned_what_failed_and_what_was_there() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(search_table.result(toy_search.record().model_dump(mode="json")))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert lines[2].split() == ["2", "best", "80.0%", "0.0001", '"adam"', "3", "0", "finished"]
    assert lines[3].endswith("same as trial 2")
    assert lines[6].split() == ["3", "95.0%", "0.0001", '"sgd"', "0.7", "3", "0", "pruned"]
    assert lines[-3].startswith("importance lr_groups.head 75%, optimizer.name 25% (fANOVA over 3 finished trials; of so few")
    assert lines[-2] == 'best       main-best: lr_groups.head = 0.0001, optimizer.name = "adam"'
    assert lines[-1] == "failed     trial 4: <no>"


def test_narrow_terminal_loses_no_value() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(search_table.result(toy_search.record().model_dump(mode="json")))
    text = " ".join(captured.get().split())
    assert "…" not in text
    for word in ("2 best 80.0%", "3 95.0% pruned", 'optimizer.name = "sgd"', "optimizer.momentum = 0.7"):
        assert word in text


def test_line_of_a_trial_crosses_each_axis_at_its_value() -> None:
    """Worked out by hand: 1e-3 is the middle of 1e-4 to 1e-2, the last of three values is at 1, and 0.70 is the lowest of 0.70 to 0.95."""
    chart = page.parallel(toy_search.record(), 0)
    lines = {each["name"]: each for each in chart.data}
    assert set(lines) == {"trial 0", "trial 1", "trial 2", "trial 3"}  # neither the failed one nor the one that was there
    written, best, pruned = lines["trial 0"], lines["trial 2"], lines["trial 3"]
    assert written["y"] == pytest.approx([0.5, 0.5, -0.3, 0.0], abs=0.026)
    assert written["y"][0] == pytest.approx(0.5)
    assert best["y"] == pytest.approx([0.0, 1.0, -0.3, 0.4], abs=0.026)
    assert pruned["y"] == pytest.approx([0.0, 0.0, 0.5, 1.0], abs=0.026)
    assert (pruned["line"]["dash"], best["line"]["dash"]) == ("dot", "solid")
    assert best["opacity"] == 1
    assert chart.data[-1] is best  # above all others
    marks = {(each["x"], each["text"]) for each in chart.layout["annotations"]}
    assert {(0, "0.0001"), (0, "0.01"), (1, '"adamw"'), (2, "not set"), (3, "95.0%")} <= marks
    assert "The best, trial 2, has lr_groups.head 0.0001" in chart.alt


def test_one_trial_has_no_picture_and_no_importance() -> None:
    alone = toy_search.record(trials=toy_search.record().trials[:1], importance={})
    assert page.parallel(alone, 0) is None
    assert page.importance(alone, 0) is None
    flat = toy_search.record(trials=tuple(each.model_copy(update={"value": 0.5}) for each in toy_search.record().trials[:3]))
    drawn = page.parallel(flat, 0)
    assert {each["y"][-1] for each in drawn.data} == {0.5}
