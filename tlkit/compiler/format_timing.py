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
_REPLAYS = 20  # by which a GPU is timed
EAGER = 4  # calls where nothing is replayed: what launches a kernel after the other takes long, and nearly as long each time

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

    Args:
        make: From a format to what is timed.
        forms: The formats.
        images: Number of images of one call.
        device: The device that it runs on.
        watch: Called before each timing.
        again: More calls of a close format, at most.
    """
    timings: list[Timing] = []
    best = math.inf
    for compute_format in forms:
        watch()
        try:
            made = make(compute_format)
            seconds = made.seconds if device.type == "cpu" else seconds_of(made.call, device, made.calls)
        except (RuntimeError, NotImplementedError, TypeError, ValueError) as failure:  # whatever a third party's forward raises
            if machine.is_out_of_memory(failure):  # that is so now, and is not to be remembered of the form
                raise
            if compute_format == PLAIN_FORMAT:
                raise _cannot_run(failure) from failure
            timings.append(Timing(compute_format, math.inf, math.inf))
            continue
        for _ in range(again if seconds <= best * _CLOSE else 0):
            seconds = min(seconds, watched(made.call, device, watch, made.calls))
            if seconds > best * _SLOWER:
                break
        best = min(best, seconds)
        timings.append(Timing(compute_format, seconds / images, made.error))
        del made  # it holds the form's copy of the network
    if math.isinf(best) and PLAIN_FORMAT not in forms:  # is it the precision that a recipe asks for, or the network?
        try:
            make(PLAIN_FORMAT)
        except (RuntimeError, NotImplementedError, TypeError, ValueError) as failure:
            raise _cannot_run(failure) from failure
    return tuple(timings)


def _cannot_run(failure: Exception) -> PluginError:
    return PluginError(f"the network cannot be run: {reason(failure)}.", "tlkit check says more")


def watched(call: Callable[[], object], device: torch.device, watch: Watch, calls: int = _REPLAYS) -> float:
    """Return the seconds of a call, after `watch`."""
    watch()
    return seconds_of(call, device, calls)


def seconds_of(call: Callable[[], object], device: torch.device, calls: int = _REPLAYS) -> float:
    """Return the seconds of a call; on a GPU the mean of so many, by events on the device, of which launching a graph is no part."""
    if device.type == "cuda":
        return _by_events(call, torch.cuda.current_stream(device), calls)
    began = clock.now()
    call()
    return clock.now() - began


def _by_events(call: Callable[[], object], stream: torch.cuda.Stream, calls: int) -> float:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    call()
    first.record(stream)
    for _ in range(calls):
        call()
    last.record(stream)
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000 / calls
