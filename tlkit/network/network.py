"""The network as one module: stages, a head and auxiliary heads. Parameters keep the names of the backbone's library.

The rule: running the stages in order is the forward pass, so the network can be cut after any of them. What comes out of a cut is one
tensor, also where the head reads several stages: see `packing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tlkit.network.packing import Carried, Packing
from tlkit.recipe.maps import AUX, DOMAIN, HEAD, Parameter
from tlkit.tasks import Task
from tlkit.tasks.single_label import SINGLE_LABEL

Reads = Literal["mean", "values", "map", "maps"]


class Network(nn.Module):
    """A backbone's stages, a head, and auxiliary classifiers that help to train.

    Args:
        stages: Stage name -> module, in order; a module's own parameter names are the library's.
        head: From what it reads of the last stage to the outputs that its task asks for, (N, outputs, ...).
        aux_heads: Auxiliary classifiers by the library's name, from the output of a stage to logits (N, classes).
        aux_depths: Auxiliary classifier -> how many leading stages it reads.
        reads: What the head reads of a feature map (N, C, h, w): its mean over the picture (N, C), every value (N, C * h * w), the
            map itself, or, as "maps", the maps of several stages and the size of the images.
        task: The kind of problem: it makes logits of the head's outputs.
        positive: The class that the one logit of a binary head stands for.
        domain_head: What a method of domain adaptation trains beside the network; it is no part of the prediction and is not kept.
        packing: Which stages' maps the head reads, with "maps"; or of which a method of domain adaptation compares the means.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        aux_heads: Mapping[str, nn.Module] | None = None,
        aux_depths: Mapping[str, int] | None = None,
        *,
        reads: Reads = "mean",
        task: Task = SINGLE_LABEL,
        positive: int = 1,
        domain_head: nn.Module | None = None,
        packing: Packing | None = None,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.head = head
        self.aux_heads = nn.ModuleDict(aux_heads)
        self.domain_head = domain_head
        self.reads: Reads = reads
        self.packing = packing or Packing()
        self.task = task
        self.positive = positive
        self._tapped = dict(aux_depths or {})

    @property
    def pools(self) -> bool:
        """Whether the head reads the mean over the picture."""
        return self.reads == "mean"

    @property
    def logarithms(self) -> bool:
        """Whether the head gives logarithms of probabilities, as some solved ones do."""
        return bool(getattr(self.head, "logarithms", False))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of a batch (N, 3, H, W), normalised as the weights want it."""
        return self.answer_of(self.carry(x))

    def run(self, x: Tensor, *, start: int = 0, stop: int | None = None) -> Tensor:
        """Run the stages from start up to, not including, stop; by default all of them.

        Args:
            x: Images, or the output of the stages before start, as this returns it.
            start: The first stage.
            stop: The stage after the last.

        Returns:
            The last stage's output; where earlier stages are read too, all that the rest of the network needs: see `Packing.closed`.
        """
        stop = len(self.stages) if stop is None else stop
        return self.packing.closed(self.carry(x, start=start, stop=stop), stop)

    def read_and_answer(self, x: Tensor, *, start: int = 0) -> tuple[Tensor, Tensor]:
        """Run the stages from `start`; return the features of the last one, and the logits (N, classes, ...)."""
        carried = self.carry(x, start=start)
        return self.features(carried), self.answer_of(carried)

    def carry(self, x: Tensor, *, start: int = 0, stop: int | None = None) -> Carried:
        """Run stages as `run` does; return the last one's output and, beside it, those that are read later."""
        return self.carry_with_aux(x, aux_heads=(), start=start, stop=stop)[0]

    def carry_with_aux(
        self, x: Tensor, *, aux_heads: Sequence[str], start: int = 0, stop: int | None = None
    ) -> tuple[Carried, dict[str, Tensor]]:
        """Run stages as `carry` does; return the logits (N, classes) of some auxiliary classifiers too."""
        aux_logits = {}
        stages = list(self.stages.values())
        carried = self.packing.opened(x, stages[:start])
        for index, stage in enumerate(stages[start:stop], start=start):
            carried = self.packing.onward(carried, index, stage(carried.last))
            for name in aux_heads:
                if self._tapped[name] == index + 1:
                    aux_logits[name] = self.aux_heads[name](carried.last)
        return carried, aux_logits

    def forward_with_aux(self, x: Tensor, *, aux_heads: Sequence[str], start: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, classes) of the stages from `start` and the head, and those of some auxiliary classifiers."""
        carried, aux_logits = self.carry_with_aux(x, aux_heads=aux_heads, start=start)
        return self.answer_of(carried), aux_logits

    def finish(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, ...) of the output of all stages, with a column for every class: see `Task.expand`."""
        return self.answer_of(self._opened(x))

    def read(self, x: Tensor) -> Tensor:
        """Return the features of the output of all stages: see `features`."""
        return self.features(self._opened(x))

    def answer_of(self, carried: Carried) -> Tensor:
        """Return logits (N, classes, ...) of what all stages gave."""
        if self.reads != "maps":
            return self.answer(self.features(carried))
        return self.task.expand(self.head(self.packing.read(carried, list(self.stages.values())), carried.size), self.positive)

    def answer(self, features: Tensor) -> Tensor:
        """Return logits (N, classes, ...) of features, by a head that reads the last stage alone."""
        return self.task.expand(self.head(features), self.positive)

    def features(self, carried: Carried) -> Tensor:
        """Return what a head of the last stage reads of its output: the mean, all values, or the map; the mean beside "maps"."""
        x = carried.last
        return pool(x) if self.reads in ("mean", "maps") else torch.flatten(x, 1) if self.reads == "values" else x

    def compared(self, carried: Carried) -> dict[str, Tensor]:
        """Return the mean (N, C) of the output of each stage that a method of domain adaptation compares."""
        return self.packing.compared(carried, list(self.stages))

    def pools_after(self, stages: int) -> bool:
        """Whether what so many leading stages give is pooled: all of them, where nothing but the head's features is needed of them."""
        return self.pools and stages == len(self.stages) and not self.packing.packs(stages)

    def embed(self, x: Tensor, *, at: str | None = None, pooled: bool = True) -> Tensor:
        """Return the output of a stage, by default the last: its mean over the image (N, C), or the map (N, C, h, w)."""
        stop = None if at is None else 1 + list(self.stages).index(at)
        x = self.carry(x, stop=stop).last
        return pool(x) if pooled else x

    def lay_out_(self, memory_format: torch.memory_format) -> None:
        """Put the weights, and the maps that come from a cut, into a memory format."""
        self.to(memory_format=memory_format)
        self.packing.memory_format = memory_format

    def owned(self) -> Iterator[tuple[Parameter, nn.Parameter]]:
        """Every parameter once, in order: its name in the library and its stage, and itself; then those of the heads."""
        for stage, module in self.stages.items():
            for name, parameter in module.named_parameters():
                yield Parameter(name, stage), parameter
        for name, parameter in self.head.named_parameters():
            yield Parameter(f"{HEAD}.{name}", HEAD), parameter
        for name, parameter in self.aux_heads.named_parameters():
            yield Parameter(name, AUX), parameter
        if self.domain_head is not None:
            for name, parameter in self.domain_head.named_parameters():
                yield Parameter(f"{DOMAIN}.{name}", DOMAIN), parameter

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer by the library's name, the head's under "head."; a domain head's are not among them."""
        named = {name: tensor for module in self.stages.values() for name, tensor in module.state_dict().items()}
        return (
            named | {f"{HEAD}.{name}": tensor for name, tensor in self.head.state_dict().items()} | self.aux_heads.state_dict()
        )

    def _opened(self, x: Tensor) -> Carried:
        return self.packing.opened(x, list(self.stages.values()))


def pool(x: Tensor) -> Tensor:
    """Average a feature map (N, C, h, w) over the image to (N, C); features (N, C) are returned as they are."""
    return torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1) if x.ndim == 4 else x
