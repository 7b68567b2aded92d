"""Say once in a run that other programs use the processors, where its steps take several times as long as was measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch

from tlkit import machine
from tlkit.engine.runtime import Runtime
from tlkit.plans.plan import Plan
from tlkit.record.formats import ComputeFormat
from tlkit.record.timings import Measurements, Timing
from tlkit.run.preparation import Prepared
from tlkit.store.measurements import BUSY

_STEPS = 20  # whose median counts
_TIMES = 3.0  # as long as was measured


class BusyWatch:
    """What is called between two batches, and looks at the clock.

    Args:
        watch: Called first; may raise.
        expected: Seconds of a step.
        say: Called once with a sentence, where steps are slow and threads waited for processors.
    """

    def __init__(self, watch: Callable[[], None], *, expected: float, say: Callable[[str], None]) -> None:
        self._watch = watch
        self._expected = expected
        self._say = say
        self._times: list[float] = []
        self._waited = 0.0
        self._said = False

    def __call__(self) -> None:
        """Call the other, and look."""
        self._watch()
        if self._said:
            return
        if not self._times:
            self._waited = machine.waited()
        self._times.append(time.perf_counter())
        if len(self._times) > _STEPS:
            self._look()
            self._times.clear()

    def _look(self) -> None:
        step = statistics.median(after - before for before, after in pairwise(self._times))
        whole = (self._times[-1] - self._times[0]) * torch.get_num_threads()
        if step > _TIMES * self._expected and machine.waited() - self._waited > BUSY * whole:
            self._said = True
            self._say(
                f"a step takes {step / self._expected:.0f} times as long as was measured: other programs use the processors; "
                "with OMP_NUM_THREADS=1 it would be faster here"
            )


def watching(prepared: Prepared, runtime: Runtime) -> Runtime:
    """Return where a run is carried out, with a look at the clock between its batches.

    It is the same where the speed was not measured, or one thread computes.
    """
    expected = step_seconds(prepared.plan, prepared.measured)
    if not expected or runtime.device.type != "cpu" or torch.get_num_threads() == 1:
        return runtime
    label, note = prepared.job.label, runtime.observer.note
    return replace(runtime, watch=BusyWatch(runtime.watch, expected=expected, say=lambda text: note(f"{label}: {text}")))


def step_seconds(plan: Plan, measured: Measurements) -> float:
    """Return the seconds of one step of a plan's last phase, as measured; 0 where it was not."""
    phase = plan.phases[-1]
    image = _seconds(measured.step, plan.compute_format)
    if image and phase.fixed is not None and phase.fixed.train is None:
        image += _seconds(measured.prefix(len(phase.prefix)), phase.fixed.compute_format)
    return image * plan.batch_size * plan.tables.optimizer.accumulate


def _seconds(timings: tuple[Timing, ...], compute_format: ComputeFormat) -> float:
    return next((each.seconds for each in timings if each.compute_format == compute_format), 0.0)
