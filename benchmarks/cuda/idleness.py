"""Where a GPU is idle: between the kernels of one replay, between a replay and the next, before the first and after the last.

The rule: what a profiler saw comes as spans (begin, end, launch) in microseconds. The kernels of one replayed graph have its launch in
common, and every other kernel or copy has one of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

Span = tuple[float, float, int]


@dataclass(frozen=True)
class Idleness:
    """The time in which no kernel ran, in parts of the time from the first begin to the last end.

    Attributes:
        whole: All of it.
        within: From a replay's begin to its end; None where nothing was replayed, as for those below.
        between: From a replay's end to the begin of the next.
        around: Before the first replay and after the last: the epoch's begin, its evaluation.
        steps: `within` and `between` as a part of the time from the first replay's begin to the last one's end.
        replays: How many there were.
        kernels: Of a replay, the median.
        busy: Seconds in which a kernel ran, from the first replay's begin to the last one's end; of everything without replays.
    """

    whole: float
    within: float | None
    between: float | None
    around: float | None
    steps: float | None
    replays: int
    kernels: int | None
    busy: float


def seen(run: Callable[[], object], device: torch.device) -> Idleness | None:
    """Run something under torch's profiler, and return where the device was idle; None where the device is no CUDA one."""
    if device.type != "cuda":
        run()
        return None
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiler:
        run()
        torch.cuda.synchronize(device)
    events = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    return of([(event.time_range.start, event.time_range.end, event.id) for event in events])


def of(spans: Sequence[Span]) -> Idleness | None:
    """Return where no span covers the time; None without spans."""
    if not spans:
        return None
    gaps = list(_gaps(spans))
    first, last = min(begin for begin, _, _ in spans), max(end for _, end, _ in spans)
    time, uncovered = last - first, sum(end - begin for begin, end in gaps)
    replays = _replays(spans)
    if not replays:
        return Idleness(uncovered / time, None, None, None, None, 0, None, (time - uncovered) / 1e6)
    begins, ends = sorted(begin for begin, _, _ in replays), sorted(end for _, end, _ in replays)
    parts = {"within": 0.0, "between": 0.0, "around": 0.0}
    for begin, end in gaps:  # a replay begins and ends with a kernel, so no gap is on both sides of that
        if begin < begins[0] or begin >= ends[-1]:
            parts["around"] += end - begin
        else:
            running = bisect_right(begins, begin) > bisect_right(ends, begin)
            parts["within" if running else "between"] += end - begin
    inside, replayed = parts["within"] + parts["between"], ends[-1] - begins[0]
    shares = {name: part / time for name, part in parts.items()}
    kernels = int(median(count for _, _, count in replays))
    return Idleness(
        uncovered / time,
        **shares,
        steps=inside / replayed,
        replays=len(replays),
        kernels=kernels,
        busy=(replayed - inside) / 1e6,
    )


def _gaps(spans: Sequence[Span]) -> Iterator[tuple[float, float]]:
    """Yield the times that no span covers, in order."""
    ordered = sorted((begin, end) for begin, end, _ in spans)
    covered = ordered[0][1]
    for begin, end in ordered[1:]:
        if begin > covered:
            yield covered, begin
        covered = max(covered, end)


def _replays(spans: Sequence[Span]) -> list[tuple[float, float, int]]:
    """Return begin, end and the number of kernels of each launch that has several."""
    found: dict[int, tuple[float, float, int]] = {}
    for begin, end, launch in spans:
        least, most, count = found.get(launch, (begin, end, 0))
        found[launch] = min(least, begin), max(most, end), count + 1
    return [each for each in found.values() if each[2] > 1]
