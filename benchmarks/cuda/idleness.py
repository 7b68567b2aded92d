"""Where a GPU is idle: between the kernels of one replay, between a replay and the next, before the first and after the last.

The rule: the kernels of one replayed graph have its launch in common, and every other kernel or copy has one of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cuda.timeline import Event, Gap, Timeline, gaps, timeline

_APART = 0.02  # of the kernels of a replay, so many may be more or less in another


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
        timeline: What takes the time.
    """

    whole: float
    within: float | None
    between: float | None
    around: float | None
    steps: float | None
    replays: int
    kernels: int | None
    busy: float
    timeline: Timeline


def seen(run: Callable[[], object], device: torch.device, *, kernels: int | None = None) -> Idleness | None:
    """Run something under torch's profiler, and return where the device was idle; None where the device is no CUDA one.

    Args:
        run: What is looked at.
        device: That it computes on.
        kernels: Of a replay that counts: a fixed prefix and an evaluation are graphs too. None for every replay.
    """
    if device.type != "cuda":
        run()
        return None
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiler:
        run()
        torch.cuda.synchronize(device)
    found = [
        (event.device_type.name, Event(event.time_range.start, event.time_range.end, event.id, event.name))
        for event in profiler.events()
        if not event.is_user_annotation  # torch's own words for a range of kernels, which would cover the gaps in it
    ]
    there, here = ([event for where, event in found if where == kind] for kind in ("CUDA", "CPU"))
    return of(there, here, kernels=kernels)


def of(events: Sequence[Event], host: Sequence[Event] = (), *, kernels: int | None = None) -> Idleness | None:
    """Return where no kernel covers the time; None without kernels.

    Args:
        events: Kernels and copies.
        host: What the host called.
        kernels: Of a replay that counts; None for every replay.
    """
    if not events:
        return None
    replays = _replays(events, kernels)
    begins, ends = sorted(begin for begin, _, _ in replays.values()), sorted(end for _, end, _ in replays.values())
    parts: dict[str, list[Gap]] = {"within": [], "between": [], "around": []}
    for gap in gaps(events):  # a replay begins and ends with a kernel, so no gap is on both sides of that
        begin = gap[0].end
        if replays and (begin < begins[0] or begin >= ends[-1]):
            parts["around"].append(gap)
        else:
            running = not replays or bisect_right(begins, begin) > bisect_right(ends, begin)
            parts["within" if running else "between"].append(gap)
    time = max(event.end for event in events) - min(event.begin for event in events)
    idle = {name: sum(after.begin - before.end for before, after in part) for name, part in parts.items()}
    whole, inside = sum(idle.values()), idle["within"] + idle["between"]
    own = [event for event in events if event.launch in replays or not replays]
    others = [event for event in events if replays and event.launch not in replays]
    told = timeline(own, others, host, parts, replays=len(replays))
    if not replays:
        return Idleness(whole / time, None, None, None, None, 0, None, (time - whole) / 1e6, told)
    replayed = ends[-1] - begins[0]
    shares = {name: part / time for name, part in idle.items()}
    return Idleness(
        whole / time,
        **shares,
        steps=inside / replayed,
        replays=len(replays),
        kernels=int(median(count for _, _, count in replays.values())),
        busy=(replayed - inside) / 1e6,
        timeline=told,
    )


def _replays(events: Sequence[Event], kernels: int | None) -> dict[int, tuple[float, float, int]]:
    """Return begin, end and the number of kernels of each launch that has several, or about so many."""
    found: dict[int, tuple[float, float, int]] = {}
    for event in events:
        least, most, count = found.get(event.launch, (event.begin, event.end, 0))
        found[event.launch] = min(least, event.begin), max(most, event.end), count + 1
    return {launch: each for launch, each in found.items() if each[2] > 1 and _alike(each[2], kernels)}


def _alike(count: int, kernels: int | None) -> bool:
    return kernels is None or abs(count - kernels) <= _APART * kernels
