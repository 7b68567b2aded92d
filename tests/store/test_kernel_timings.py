"""Timings of kernels: those of a machine lie in one record, and an impossible one counts as none."""

import time
from dataclasses import replace
from typing import Any

import pytest

from tlkit.plugin import remembered
from tlkit.record.formats import PLAIN_FORMAT
from tlkit.record.kernels import Convolution, KernelTiming
from tlkit.store import kernel_timings

DEPTHWISE = Convolution((4, 7, 7), (4, 1, 5, 5), (2, 2), (2, 2), (1, 1), 4, PLAIN_FORMAT)
WEIGHT = KernelTiming(DEPTHWISE, "weight", 4, "windows", 0.5, 1.0)
OF_TWO = replace(WEIGHT, images=2)
HERE = {"here": 1}
RECORD = {"kernels": "of convolutions", "here": 1}


def test_new_timings_stand_beside_the_known_ones_and_replace_those_of_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel_timings.remember(HERE, [WEIGHT, OF_TWO], waited=0.0625)
    faster = replace(WEIGHT, kernel="phases", seconds=0.25)
    monkeypatch.setattr("time.time", lambda: 1e9)
    kernel_timings.remember(HERE, [faster], waited=0.125)
    assert kernel_timings.recall(HERE) == {
        (DEPTHWISE, "weight", 4): faster,
        (DEPTHWISE, "weight", 2): OF_TWO,
    }
    rows = remembered.recall(RECORD)
    assert isinstance(rows, list)
    assert [(row["timing"]["kernel"], row["waited"], row["taken"] == 1e9) for row in rows] == [
        ("phases", 0.125, True),
        ("windows", 0.0625, False),
    ]


def test_timings_of_a_busy_time_choose_for_a_day_and_of_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_timings.remember(HERE, [WEIGHT], waited=0.5)
    kernel_timings.remember(HERE, [OF_TWO], waited=0.0)
    assert list(kernel_timings.recall(HERE).values()) == [WEIGHT, OF_TWO]
    assert kernel_timings.recall({"here": 2}) == {}
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 90_000)
    assert list(kernel_timings.recall(HERE).values()) == [OF_TWO]


@pytest.mark.parametrize("change", [{"seconds": 0}, {"seconds": -1}, {"native_seconds": 0}, {"native_seconds": -1}])
def test_timing_that_cannot_be_is_left_out(change: dict[str, Any]) -> None:
    kernel_timings.remember(HERE, [replace(WEIGHT, **change), OF_TWO], waited=0)
    assert list(kernel_timings.recall(HERE).values()) == [OF_TWO]


def test_damaged_record_is_none_and_is_written_again() -> None:
    kernel_timings.remember(HERE, [WEIGHT], waited=0)
    rows = remembered.recall(RECORD)
    assert isinstance(rows, list)
    for damaged in (3, [3], [{**rows[0], "waited": "long"}], []):
        remembered.remember(RECORD, damaged)
        assert kernel_timings.recall(HERE) == {}
        kernel_timings.remember(HERE, [OF_TWO], waited=0)
        assert list(kernel_timings.recall(HERE).values()) == [OF_TWO]
