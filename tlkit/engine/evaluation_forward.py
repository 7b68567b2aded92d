"""The forward pass of an evaluation: on a GPU by a captured CUDA graph, once batches of one shape have come often.

The rule: a graph is of one phase and one shape of input, and what has another shape runs as it is, with the same bits. On a GPU a smaller last batch
is filled up to the full one, or to a half, a quarter of it: of each other number of images all convolutions would choose and load kernels anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tlkit import units
from tlkit.engine import tiles
from tlkit.engine.captured_call import CapturedCall
from tlkit.engine.formats import computing, halves, laid_out
from tlkit.engine.step.graph import Backend
from tlkit.network import device_memory
from tlkit.network.network import Network
from tlkit.plans.plan import Plan

# Inputs of a shape before a graph of it is captured. Launching the forward pass of ResNet-18 takes a host about 6 ms (an H100, 32 images), a
# capture as long as some tens of these: whoever asks seldom is not kept waiting for it.
OFTEN = 16


class EvaluationForward:
    """Computes features and logits of what the feed of a phase gives.

    Args:
        network: In eval mode when it is called; its tensors keep their addresses until `release`.
        plan: In which format the network is evaluated, where its phases begin, and whether in tiles.
        device: The device that the network is on.
        backend: Captures; None where nothing is captured.
        note: Called with a message if it cannot be captured.

    Attributes:
        refusals: Such messages.
    """

    def __init__(
        self, network: Network, plan: Plan, device: torch.device, *, backend: Backend | None = None, note: Callable[[str], None] = lambda _: None
    ) -> None:  # fmt: skip
        self.network = network
        self._plan, self._device = plan, device
        self._format = plan.evaluation_format or plan.compute_format
        self._cut = 0
        self._backend, self._note = backend, note
        self.refusals: list[str] = []
        self._asked: Counter[object] = Counter()
        self._captured: CapturedCall | None = None

    def begin_(self, epoch: int) -> None:
        """Begin an epoch, counted from 1: the inputs that follow are those of its phase."""
        cut = len(self._plan.phase(epoch).prefix)
        if cut != self._cut:
            self.release()
            self._cut = cut

    def release(self) -> None:
        """Free the graph's memory: the network's tensors may have other addresses from now on."""
        self._asked.clear()
        captured, self._captured = self._captured, None
        if captured is not None:
            captured.release()

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features that the head reads, and the logits, both float32, in the plan's format for evaluation.

        Pictures in tiles pass all stages, since the fixed prefix too sees a tile at a time; then the pictures stand for the features.
        """
        if self._plan.tile is None:
            return self._answered(x, start=self._cut)
        return x, tiles.logits(self.network.task, lambda part: self._answered(part, start=0)[1], x, tile=self._plan.tile)

    def _answered(self, x: Tensor, *, start: int) -> tuple[Tensor, Tensor]:
        answer, images = partial(self._computed, start=start), len(x)
        if self._device.type == "cuda" and (more := _filled(images, self._plan.evaluation_batch) - images):
            x = torch.cat([x, x.new_zeros(more, *x.shape[1:])])
        if self._backend is not None and self._captured is None:
            shape = x.shape, x.dtype
            self._asked[shape] += 1
            if self._asked[shape] == OFTEN:
                self._capture(self._backend, answer, x)
        features, logits = answer(x) if self._captured is None else self._captured(x)
        return features[:images], logits[:images]

    def _capture(self, backend: Backend, answer: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> None:
        """Capture the answer to inputs like x; what cannot be or has no room is not tried again in another phase."""
        needed = (
            self._plan.memory.activations // 2
        )  # the rest is that of a step's graph, which is there but for an epoch's start
        if self._device.type == "cuda" and (left := device_memory.untaken_memory(self._device)) < needed:
            self._refuse(
                f"evaluation runs without a captured graph: {units.size(left)} of {self._device} are free, of which training may need "
                f"{units.size(needed)}"
            )
            return
        self._captured = CapturedCall(answer, backend, x, what="evaluation", note=self._refuse)

    def _refuse(self, line: str) -> None:
        self._backend = None
        self.refusals.append(line)
        self._note(line)

    def _computed(self, x: Tensor, *, start: int) -> tuple[Tensor, Tensor]:
        x = laid_out(x if halves(self._format) else x.float(), self._plan.compute_format)
        with computing(self._format, self._device):
            features, logits = self.network.read_and_answer(x, start=start)
        return features.float(), logits.float()


def _filled(images: int, full: int) -> int:
    """Return the smallest of the full batch, its half, its quarter and so on that holds so many images; so many where none does."""
    size = max(images, full)
    while size % 2 == 0 and size // 2 >= images and images < full:
        size //= 2
    return size
