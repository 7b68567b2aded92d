"""A file of measurements is used whole or not at all, whatever is wrong with it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tlkit import files
from tlkit.record.formats import COMPUTE_FORMATS
from tlkit.record.timings import Measurements, Timing
from tlkit.store import measurements

FACTS = {"backbone": "toy"}
INF = math.inf
ROWS = tuple(Timing(compute_format, 0.1 * (at + 1), 0.001 * at) for at, compute_format in enumerate(COMPUTE_FORMATS))
KNOWN = Measurements(ROWS, ((2, ROWS), (5, ())), 1.5, "")


@pytest.fixture
def path() -> Path:
    """Of the file, with good measurements in it."""
    measurements.remember(FACTS, KNOWN)
    (found,) = (files.cache_folder() / "measured").glob("*.json")
    return found


def test_good_measurements_come_back(path: Path) -> None:
    assert measurements.recall(FACTS) == KNOWN


@pytest.mark.parametrize(("seconds", "error"), [(INF, INF), (0.1, INF)], ids=["cannot run here", "not finite"])
def test_a_form_that_is_no_use_here_comes_back(seconds: float, error: float) -> None:
    rows = (*ROWS[:3], Timing(COMPUTE_FORMATS[3], seconds, error))
    measurements.remember(FACTS, Measurements(rows, (), 1.5, ""))
    found = measurements.recall(FACTS)
    assert found.step == rows


def test_measurements_of_the_precision_that_a_recipe_names_come_back_for_it_alone() -> None:
    for precision, rows in (("float32", ROWS[:2]), ("bfloat16", ROWS[2:])):
        mine = Measurements(rows, ((2, rows),), 1.5, "")
        for asked in ("float32", "bfloat16", "auto"):
            measurements.remember(FACTS | {"precision": asked}, mine)
            assert measurements.recall(FACTS | {"precision": asked}) == (mine if asked == precision else None)


def bfloat16_only(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["compute_format"]["precision"] == "bfloat16"]


def float32_only(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["compute_format"]["precision"] == "float32"]


def changed(**values: object) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda rows: [*rows[:3], rows[3] | values]


DAMAGES = {
    "bfloat16 only": bfloat16_only,
    "float32 only": float32_only,
    "one form twice": lambda rows: [*rows[:3], rows[0]],
    "one form too many": lambda rows: [*rows, rows[0]],
    "NaN seconds": changed(seconds=math.nan),
    "no seconds": changed(seconds=0.0),
    "negative seconds": changed(seconds=-1.0),
    "seconds without end": changed(seconds=INF),
    "NaN error": changed(error=math.nan),
    "negative error": changed(error=-0.1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("part", ["step", "prefix"])
def test_timings_that_cannot_be_are_as_none(path: Path, part: str, damage: Callable[[list[Any]], list[Any]]) -> None:
    record = json.loads(path.read_text())
    if part == "step":
        record["value"]["step"] = damage(record["value"]["step"])
    else:
        record["value"]["prefixes"][0][1] = damage(record["value"]["prefixes"][0][1])
    path.write_text(json.dumps(record))
    assert measurements.recall(FACTS) is None


@pytest.mark.parametrize("content", ["[" * 100_000, '{"measured":' * 100_000, '{"measured": ' + "[" * 5000 + "]" * 5000 + "}"])
def test_deep_nesting_is_as_none(path: Path, content: str) -> None:
    path.write_text(content)
    assert measurements.recall(FACTS) is None


def test_what_was_measured_while_other_programs_were_busy_counts_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, busy = (replace(KNOWN, waited=part, taken=1_000_000.0) for part in (0.1, 0.3))
    measurements.remember(FACTS, busy)
    monkeypatch.setattr("time.time", lambda: 1_000_000.0 + 86_399)
    assert measurements.recall(FACTS) == busy
    monkeypatch.setattr("time.time", lambda: 1_000_000.0 + 86_401)
    assert measurements.recall(FACTS) is None
    measurements.remember(FACTS, quiet)
    assert measurements.recall(FACTS) == quiet


@pytest.mark.parametrize(
    ("waited", "age", "good"),
    [
        (0.2, 10**9, True),
        (0.21, 0.0, True),
        (0.21, 0.5, True),
        (0.21, 86_399.0, True),
        (0.21, 86_400.0, False),
        (0.21, -1.0, False),
    ],
)
def test_what_was_measured_on_a_busy_machine_is_good_for_a_day(
    waited: float, age: float, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlkit.store.measurements.time.time", lambda: 2e9)
    assert measurements.is_good(waited, 2e9 - age) is good
