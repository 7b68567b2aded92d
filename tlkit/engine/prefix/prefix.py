"""The fixed prefix of a phase: frozen stages, folded, in one compute format, run in chunks of one size.

The rule: a chunk always has the same number of images, the last one padded, because a convolution gives an image other last
bits at another batch size. So what is stored and what is computed again are the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from tlkit.engine import tf32
from tlkit.engine.captured_call import CapturedCall
from tlkit.engine.formats import LAYOUTS, cast, in_form_, rounding
from tlkit.engine.prefix.fold import folded
from tlkit.engine.step.graph import Backend
from tlkit.network.network import Network, pool
from tlkit.network.packing import Packing
from tlkit.network.stages import copied
from tlkit.record.formats import PrefixPlan
from tlkit.units import Size

Note = Callable[[str], None]


class Prefix:
    """Leading stages of a network, all frozen.

    On a CUDA device a chunk is a captured graph, one for each range of stages that is asked for. On a CPU, MKL's float32 products
    give a row other last bits where it begins at another alignment, so there a stage with a product over a width that is no multiple
    of 16 bytes runs image by image. No usual backbone has one.

    Args:
        stages: In order, in eval mode and in the prefix's form; not changed any more.
        pools: The last output is pooled, float32: these are all stages, and the head reads pooled features.
        packing: Which of their outputs, or of the means of these, the rest of the network needs, beside the last output.
        plan: How it runs.
        backend: Captures chunks; None where nothing is captured.
        note: Called with a message if they cannot be captured.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        *,
        pools: bool,
        plan: PrefixPlan,
        packing: Packing | None = None,
        backend: Backend | None = None,
        note: Note = lambda _: None,
    ) -> None:
        self._stages = stages
        self._singly = [any(_is_odd(module) for module in stage.modules()) for stage in stages]
        self._pools = pools
        packing = packing or Packing()
        layout = LAYOUTS[plan.compute_format.layout]
        self._packing = Packing(packing.reads, packing.channels, layout, means=packing.means)
        self.plan = plan
        self._backend, self._note = backend, note
        self._captured: dict[tuple[int, int], CapturedCall] = {}

    def __len__(self) -> int:
        return len(self._stages)

    @torch.no_grad()
    def __call__(self, x: Tensor, *, start: int = 0, stop: int | None = None) -> Tensor:
        """Run stages start to stop on at most one chunk.

        Args:
            x: (n, ...) pictures float32 normalised, or the output of the stages before `start`; n <= chunk.
            start: First stage.
            stop: Run the stages before this one; by default all.

        Returns:
            (n, C, h, w) in the prefix's precision and memory format, or pooled features (n, F) float32 after the last stage of
            the backbone; where several stages are read, what `Packing.closed` makes of their outputs.
        """
        stop = len(self._stages) if stop is None else stop
        if start == stop:
            return x
        images, compute_format = len(x), self.plan.compute_format
        if images < self.plan.chunk:
            x = torch.cat([x, x.new_zeros(self.plan.chunk - images, *x.shape[1:])])
        x = cast(x, compute_format)
        if self._backend is None:
            return self._through(x, start, stop)[:images]
        if (start, stop) not in self._captured:
            self._captured[start, stop] = CapturedCall(
                lambda chunk: (self._through(chunk, start, stop),), self._backend, x, what="the fixed prefix", note=self._note
            )
        (found,) = self._captured[start, stop](x)
        return found[:images]

    def _through(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Run stages on a whole chunk."""
        with rounding(self.plan.compute_format):
            carried = self._packing.opened(x, self._stages[:start])
            for index in range(start, stop):
                carried = self._packing.onward(carried, index, self._output(index, carried.last))
        x = self._packing.closed(carried, stop)
        return pool(x.float()) if self._pools and stop == len(self._stages) else cast(x, self.plan.compute_format)

    def _output(self, index: int, x: Tensor) -> Tensor:
        stage = self._stages[index]
        alone = self._singly[index] and x.device.type == "cpu"
        return torch.cat([stage(x[at : at + 1].clone()) for at in range(len(x))]) if alone else stage(x)

    @torch.no_grad()
    def fingerprint(self, size: Size, *, stop: int, channels: int = 3) -> str:
        """Return a digest of the stages before `stop`: their code, their tensors, and their output for one fixed image.

        It covers what the origin of a row cannot list: what a plugin keeps in its objects, and which norms the sample allowed to fold.

        Args:
            size: Height and width of the image, pixels.
            stop: The stage after the last.
            channels: Of the image.
        """
        x = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
        tensor = next((tensor for stage in self._stages for tensor in stage.parameters()), x)
        x = cast(x.to(tensor.device), self.plan.compute_format)
        with rounding(self.plan.compute_format):
            for stage in self._stages[:stop]:
                x = stage(x)
        seen = x.float().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return hashlib.sha256(repr(self._stages[:stop]).encode() + seen.tobytes()).hexdigest()


def build(
    network: Network,
    count: int,
    plan: PrefixPlan,
    *,
    sample: Tensor,
    backend: Backend | None = None,
    note: Note = lambda _: None,
) -> Prefix:
    """Copy a network's leading stages, folded and in the prefix's compute format.

    Args:
        network: Not changed.
        count: How many stages.
        plan: Form, folded or not, chunk.
        sample: (1, 3, H, W) a normalised image, on the network's device; shows where BatchNorm can be folded.
        backend: Captures chunks; None where nothing is captured.
        note: Called with a message if they cannot be captured, or a stage cannot be folded.

    Raises:
        PluginError: a stage cannot be copied.
    """
    stages: list[nn.Module] = []
    x = sample.float().contiguous()
    for name, module in list(network.stages.items())[:count]:
        stage = copied(name, module).eval().requires_grad_(False)
        stage = stage.to(memory_format=torch.contiguous_format)
        with torch.no_grad(), tf32.forbidden():
            following = stage(x)
        made = folded(stage, x, note=partial(_say_of, name, note)) if plan.folded else stage
        stages.append(in_form_(made, plan.compute_format))
        x = following
    return Prefix(stages, pools=network.pools_after(count), plan=plan, packing=network.packing, backend=backend, note=note)


def _say_of(stage: str, note: Note, line: str) -> None:
    note(f"fixed prefix, {stage}: {line}")


def _is_odd(module: nn.Module) -> bool:
    """Whether a linear layer's rows are no multiple of 16 bytes wide in float32."""
    if isinstance(module, nn.Linear):
        return bool(module.in_features % 4)
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and bool(module.in_channels // module.groups % 4)
