"""A run says once that other programs use the processors."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace as Namespace

import pytest
import torch

from tlkit.record.formats import COMPUTE_FORMATS, PrefixPlan
from tlkit.record.timings import Measurements, Timing
from tlkit.run import busy
from tlkit.run.busy import BusyWatch

Clock = Callable[[float, float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Two threads; the returned function lets so many seconds pass, in which the threads together wait for so many."""
    now = {"time": 100.0, "waited": 7.0}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr("time.perf_counter", lambda: now["time"])
    monkeypatch.setattr("tlkit.machine.waited", lambda: now["waited"])

    def tick(seconds: float, waited: float) -> None:
        now["time"] += seconds
        now["waited"] += waited

    yield tick
    monkeypatch.undo()


def _steps(clock: Clock, count: int, *, seconds: float, waited: float) -> list[str]:
    said: list[str] = []
    watch = BusyWatch(lambda: None, expected=0.5, say=said.append)
    for _ in range(count):
        watch()
        clock(seconds, waited)
    return said


def test_slow_steps_of_threads_that_wait_are_said_once(clock: Clock) -> None:
    (said,) = _steps(clock, 200, seconds=6.0, waited=4.0)
    assert "takes 12 times as long as was measured" in said
    assert "OMP_NUM_THREADS=1" in said


@pytest.mark.parametrize(
    ("seconds", "waited"), [(1.4, 1.4), (6.0, 2.0)], ids=["not slow", "slow, but not for want of a processor"]
)
def test_what_is_no_other_programs_fault_is_not_said(clock: Clock, seconds: float, waited: float) -> None:
    assert not _steps(clock, 200, seconds=seconds, waited=waited)


def test_a_long_pause_between_two_epochs_is_no_slow_step(clock: Clock) -> None:
    said: list[str] = []
    watch = BusyWatch(lambda: None, expected=0.5, say=said.append)
    for step in range(100):
        watch()
        clock(60.0 if step % 10 == 9 else 0.5, 30.0)
    assert not said


def test_a_watch_that_raises_is_heard(clock: Clock) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BusyWatch(stop, expected=0.5, say=print)()


def test_the_measured_seconds_of_a_step_are_those_worked_by_hand() -> None:
    """16 images of 10 ms, and 4 ms of a prefix that is not stored; nothing where nothing was measured."""

    step, prefix = (
        tuple(Timing(each, seconds * (1 + at), 0.0) for at, each in enumerate(COMPUTE_FORMATS)) for seconds in (0.01, 0.004)
    )
    measured = Measurements(step, ((2, prefix),), 0.0, "")
    fixed = PrefixPlan(COMPUTE_FORMATS[0])
    plan = Namespace(
        compute_format=COMPUTE_FORMATS[0], batch_size=8, tables=Namespace(optimizer=Namespace(accumulate=2)),
        phases=(Namespace(prefix=("a", "b"), fixed=fixed),),
    )  # fmt: skip
    assert busy.step_seconds(plan, measured) == pytest.approx(16 * 0.014)
    stored = replace(fixed, train=object())
    plan.phases = (Namespace(prefix=("a", "b"), fixed=stored),)
    assert busy.step_seconds(plan, measured) == pytest.approx(16 * 0.01)
    assert busy.step_seconds(plan, Measurements()) == 0.0
