"""Time a part of the network in several compute formats, one after the other, on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tlkit import machine
from tlkit.engine import clock
from tlkit.errors import PluginError, reason
from tlkit.record.formats import PLAIN_FORMAT, ComputeFormat
from tlkit.record.timings import Timing

AGAIN = 2  # more calls of a close format
# A format is timed again if its first time is within this factor of the best so far. On a CPU the first call is the one that makes it warm, and takes
# up to 1.25 times as long as later ones.
_CLOSE = 1.4
_SLOWER = 1.1  # and no third time if it is slower than the best by this factor
# What is slower than the best by this factor in its first calls on a GPU is timed by these alone: the kernels of convolutions in groups take
# many times as long in one memory format as in another.
_HOPELESS = 2.0
_FIRST = 2
_REPLAYS = 20  # by which a GPU is timed
EAGER = 4  # calls where nothing is replayed: what launches a kernel after the other takes long, and nearly as long each time

_RAISED = (RuntimeError, NotImplementedError, TypeError, ValueError)  # by a third party's forward

Watch = Callable[[], None]


@dataclass(frozen=True)
class Made:
    """A part of the network in a compute format.

    Attributes:
        call: Computes it.
        error: How far it is from float32.
        seconds: Of its first call, which is over.
        calls: That a GPU is timed by.
    """

    call: Callable[[], object]
    error: float
    seconds: float
    calls: int = _REPLAYS


def time_each(
    make: Callable[[ComputeFormat], Made],
    forms: Sequence[ComputeFormat],
    images: int,
    device: torch.device,
    watch: Watch,
    *,
    again: int = AGAIN,
) -> tuple[Timing, ...]:
    """Time each format; time the close ones again. One follows the other, so that one copy of the network is held at a time.

    On a GPU the last one, which is expected to be the fastest, comes first.

    Args:
        make: From a format to what is timed.
        forms: The formats.
        images: Number of images of one call.
        device: The device that it runs on.
        watch: Called before each timing.
        again: More calls of a close format, at most.
    """
    timings: dict[ComputeFormat, Timing] = {}
    best = math.inf
    for compute_format in forms if device.type == "cpu" else reversed(forms):
        watch()
        try:
            seconds, error = _timed(make(compute_format), device, watch, best=best, again=again)
        except _RAISED as failure:
            if machine.is_out_of_memory(failure):  # that is so now, and is not to be remembered of the form
                raise
            if compute_format == PLAIN_FORMAT:
                raise _cannot_run(failure) from failure
            seconds = error = math.inf
        best = min(best, seconds)
        timings[compute_format] = Timing(compute_format, seconds / images, error)
    if math.isinf(best) and PLAIN_FORMAT not in forms:  # is it the precision that a recipe asks for, or the network?
        try:
            make(PLAIN_FORMAT)
        except _RAISED as failure:
            if machine.is_out_of_memory(failure):
                raise
            raise _cannot_run(failure) from failure
    return tuple(timings[compute_format] for compute_format in forms)


def _timed(made: Made, device: torch.device, watch: Watch, *, best: float, again: int) -> tuple[float, float]:
    """Return the seconds and the error of a format; it holds a copy of the network, which goes with it."""
    seconds = made.seconds
    if device.type != "cpu":
        seconds = seconds_of(made.call, device, made.calls, enough=_HOPELESS * best)
    for _ in range(again if seconds <= best * _CLOSE else 0):
        seconds = min(seconds, watched(made.call, device, watch, made.calls))
        if seconds > best * _SLOWER:
            break
    return seconds, made.error


def _cannot_run(failure: Exception) -> PluginError:
    return PluginError(f"the network cannot be run: {reason(failure)}.", "tlkit check says more")


def watched(call: Callable[[], object], device: torch.device, watch: Watch, calls: int = _REPLAYS) -> float:
    """Return the seconds of a call, after `watch`."""
    watch()
    return seconds_of(call, device, calls)


def seconds_of(
    call: Callable[[], object], device: torch.device, calls: int = _REPLAYS, *, enough: float = math.inf
) -> float:  # fmt: skip
    """Return the seconds of a call; on a GPU the mean of so many, by events on the device, of which launching a graph is no part.

    Args:
        call: What is timed.
        device: That it runs on.
        calls: On a GPU, after one that is not counted.
        enough: Seconds above which a GPU's first two calls say enough.
    """
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)
        call()
        first = _by_events(call, stream, _FIRST)
        return first if first > enough else _by_events(call, stream, calls)
    began = clock.now()
    call()
    return clock.now() - began


def _by_events(call: Callable[[], object], stream: torch.cuda.Stream, calls: int) -> float:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    first.record(stream)
    for _ in range(calls):
        call()
    last.record(stream)
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / calls
