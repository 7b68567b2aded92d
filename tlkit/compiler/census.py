"""Time every distinct convolution of a network in training: forward pass, gradient of the input, gradient of the weight.

The rule: what is timed is what the training step calls, with its shapes, precision and memory format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from tlkit import units
from tlkit.engine import clock
from tlkit.engine.formats import DTYPES, LAYOUTS
from tlkit.engine.kernels import calls, catalogue, selection
from tlkit.errors import TlkitError, option, reason
from tlkit.network import building
from tlkit.network.network import Network
from tlkit.plugin import Backbone, Head
from tlkit.record.census import Census, CensusPart, CensusRow
from tlkit.record.formats import ComputeFormat
from tlkit.record.kernels import NATIVE, Convolution, Part
from tlkit.units import Size, pixels

_CLASSES = 10
# Of so many calls the fastest counts, after one that is not timed; of fewer, two at least, where they take so many seconds together.
_STEPS, _ENOUGH_STEPS = 3, 3.0
_CALLS, _ENOUGH = 5, 0.3  # of a convolution


def census(
    name: str,
    backbone: Backbone,
    head: Head,
    *,
    image_size: Size | None,
    images: int,
    compute_format: ComputeFormat,
    threads: int | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Census:
    """Measure a backbone with random weights on random images, everything trained, on the CPU.

    Args:
        name: Of the backbone.
        backbone: The plugin.
        head: The plugin of a head that is trained, such as the linear one.
        image_size: Height and width, pixels; None: the backbone's usual square.
        images: Of a batch.
        compute_format: Precision and memory format of the step.
        threads: That torch computes with; None: as it does.
        report: Called with the number of parts that are measured, and with that of all.

    Raises:
        TlkitError: the network cannot read images of this size.
    """
    size = image_size or (backbone.image_size, backbone.image_size)
    _check_size(name, backbone, size)
    with _threads(threads):
        network = _network(backbone, head, size).train().to(memory_format=LAYOUTS[compute_format.layout])
        step = _step(network, size, images, compute_format)
        try:
            with calls.recorded() as counts:
                step()
        except (RuntimeError, ValueError) as error:
            raise _cannot_train(name, images, size, error) from error
        step_seconds = _least(step, _STEPS, enough=_ENOUGH_STEPS)
        rows: list[CensusRow] = []
        forward = {convolution: count for (convolution, part), count in counts.items() if part == "weight"}
        for convolution, count in forward.items():
            rows.append(_forward(convolution, images, count))
            report(len(rows), len(forward) + len(counts))
        for (convolution, part), count in counts.items():
            rows.append(_gradient(convolution, part, images, count))
            report(len(rows), len(forward) + len(counts))
        return Census(name, size, images, compute_format, torch.get_num_threads(), step_seconds, tuple(rows))


def _check_size(name: str, backbone: Backbone, size: Size) -> None:
    """Refuse a size that the backbone says it cannot read."""
    own = f"leave it out: images then have {backbone.image_size} px"
    if backbone.fixed_size and size != (backbone.image_size, backbone.image_size):
        raise TlkitError(
            f"{name}: cannot train on images of {pixels(size)}: it takes only squares of {backbone.image_size} px.", own
        )
    if min(size) < backbone.minimum_size:
        least = option("image-size", str(backbone.minimum_size))
        raise TlkitError(
            f"{name}: cannot train on images of {pixels(size)}: it needs at least {backbone.minimum_size} px.",
            f"{least}, or {own}",
        )


def _cannot_train(name: str, images: int, size: Size, error: Exception) -> TlkitError:
    return TlkitError(
        f"{name}: cannot train on {units.images(images)} of {pixels(size)}.",
        f"{option('batch-size', '2')}: batch norm needs more than one value of each channel" if images == 1 else "",
        f"the network's own error: {reason(error)}",
    )


def _network(backbone: Backbone, head: Head, size: Size) -> Network:
    options = (each.model_validate({}) if each else None for each in (backbone.options, head.options))
    backbone_options, head_options = options
    return building.build(
        backbone, head, classes=_CLASSES, backbone_options=backbone_options, head_options=head_options, seed=0, image_size=size
    )


def _step(network: Network, size: Size, images: int, compute_format: ComputeFormat) -> Callable[[], None]:
    """Return a training step without its optimizer."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((images, 3, *size), generator=generator).contiguous(memory_format=LAYOUTS[compute_format.layout])
    labels = torch.arange(images) % _CLASSES

    def step() -> None:
        network.zero_grad(set_to_none=True)
        dtype = DTYPES[compute_format.precision]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is not torch.float32):
            loss = nn.functional.cross_entropy(network(x), labels)
        torch.autograd.backward(loss)

    return step


def _forward(convolution: Convolution, images: int, count: int) -> CensusRow:
    given = selection.operands(convolution, images)

    @torch.no_grad()
    def run() -> Tensor:
        return torch.conv2d(
            given.image, given.weight, None, convolution.stride, convolution.padding, convolution.dilation, convolution.groups
        )

    seconds = _least(run, _CALLS, enough=_ENOUGH)
    return _row(convolution, "forward", images, count, NATIVE, seconds, seconds)


def _gradient(convolution: Convolution, part: Part, images: int, count: int) -> CensusRow:
    """Choose a kernel as a run does, and time it again, as the forward pass is timed."""
    name = selection.select(convolution, part, images).kernel
    first, second = selection.operands(convolution, images).of(part)

    def taken(kernel: str) -> float:
        return _least(partial(catalogue.get(kernel, part).compute, convolution, first, second), _CALLS, enough=_ENOUGH)

    native = taken(NATIVE)
    chosen = native if name == NATIVE else taken(name)
    if chosen >= native:  # what a busy minute chose
        name, chosen = NATIVE, native
    return _row(convolution, part, images, count, name, chosen, native)


def _row(
    convolution: Convolution, part: CensusPart, images: int, count: int, kernel: str, seconds: float, native: float
) -> CensusRow:
    """Return a row; each of the three parts takes one multiply-add for each tap of each value of the output."""
    _, inner, height, width = convolution.weight
    flops = 2 * images * math.prod(convolution.output) * inner * height * width
    return CensusRow(convolution, part, count, kernel, seconds, native, flops)


def _least(run: Callable[[], object], times: int, *, enough: float) -> float:
    """Return the least seconds of some calls, after one; of two or more that take `enough` seconds together no other follows."""
    run()
    taken: list[float] = []
    while len(taken) < times and (len(taken) < 2 or sum(taken) < enough):
        began = clock.now()
        run()
        taken.append(clock.now() - began)
    return min(taken)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
