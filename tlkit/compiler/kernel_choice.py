"""Choose the kernels of a training step's convolutions by measuring each gradient once on this machine.

The rule: what is timed is one gradient of one convolution; whether all of them together pay is measured with the whole step, in `timing`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

from tlkit import machine
from tlkit.engine import row_keys
from tlkit.engine.kernels import selection
from tlkit.engine.kernels.calls import Gradients
from tlkit.record.kernels import ChosenKernel, Convolution, KernelTiming, Part
from tlkit.store import kernel_timings

IMAGES = 2  # of a timed call at least, or one for each thread; more of small ones, up to so many values of a picture, since others are then faster
VALUES = 2**19


@dataclass(frozen=True)
class Choice:
    """The kernels that are faster than the library's in a step.

    Attributes:
        kernels: Of each gradient for which there is one.
        saved: Seconds that they are expected to save of a step, for one image.
    """

    kernels: tuple[ChosenKernel, ...] = ()
    saved: float = 0.0


def choose(gradients: Gradients, *, batch: int, device: torch.device, watch: Callable[[], None], anew: bool = False) -> Choice:
    """Return the gradients for which another kernel than the library's is faster here.

    Args:
        gradients: The gradients of convolutions that a training step computes, and how often each.
        batch: Number of images of a batch.
        device: The device that it runs on; on any other than the CPU nothing is chosen.
        watch: Called between two timings; may raise to stop, and what was timed until then is kept.
        anew: Time again what is remembered.
    """
    if device.type != "cpu":
        return Choice()
    timings = timed(gradients, batch=batch, watch=watch, anew=anew)
    chosen = tuple(timing.chosen for timing in timings.values() if timing.chosen is not None)
    return Choice(chosen, sum(timing.saved * gradients[each] for each, timing in timings.items()))


def timed(
    gradients: Collection[tuple[Convolution, Part]], *, batch: int, watch: Callable[[], None] = lambda: None, anew: bool = False
) -> dict[tuple[Convolution, Part], KernelTiming]:
    """Return the fastest right kernel of every gradient on this machine, remembered or measured; the arguments are those of `choose`."""
    depends_on = {"code": row_keys.code("tlkit.engine.kernels"), **row_keys.machine(torch.device("cpu"))}
    known = {} if anew else kernel_timings.recall(depends_on)
    images = {convolution: _images(convolution, batch) for convolution, _ in gradients}
    missing = [(*each, images[each[0]]) for each in gradients if (*each, images[each[0]]) not in known]
    new = _measured(missing, depends_on, watch) if missing else []
    found = known | {(each.convolution, each.part, each.images): each for each in new}
    return {each: found[(*each, images[each[0]])] for each in gradients}


def _images(convolution: Convolution, batch: int) -> int:
    """Return the number of images of a timed call."""
    values = max(math.prod(convolution.image), math.prod(convolution.output))
    return min(batch, max(IMAGES, torch.get_num_threads(), VALUES // values))


def _measured(
    gradients: Collection[tuple[Convolution, Part, int]], depends_on: Mapping[str, object], watch: Callable[[], None]
) -> list[KernelTiming]:
    """Measure kernels, and remember what was measured, also where it is stopped."""
    began, waited = time.perf_counter(), machine.waited()
    new: list[KernelTiming] = []
    try:
        for convolution, part, images in gradients:
            watch()
            new.append(selection.select(convolution, part, images, watch=watch))
    finally:
        selection.operands.cache_clear()
        spent = (time.perf_counter() - began) * torch.get_num_threads()
        kernel_timings.remember(depends_on, new, waited=min(max((machine.waited() - waited) / spent, 0.0), 1.0))
    return new
