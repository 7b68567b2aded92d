"""The network as one module: stages, a head and auxiliary heads. Parameters keep the names of the backbone's library.

The rule: running the stages in order is the forward pass, so the network can be cut after any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tlkit.recipe.maps import AUX, DOMAIN, HEAD, Parameter
from tlkit.tasks import Task
from tlkit.tasks.single_label import SINGLE_LABEL
from tlkit.units import Size


class Network(nn.Module):
    """A backbone's stages, a head, and auxiliary classifiers that help to train.

    Args:
        stages: Stage name -> module, in order; a module's own parameter names are the library's.
        head: From what it reads of the last stage to the outputs that its task asks for, (N, outputs, ...).
        aux_heads: Auxiliary classifiers by the library's name, from the output of a stage to logits (N, classes).
        aux_depths: Auxiliary classifier -> how many leading stages it reads.
        reads: What the head reads of a feature map (N, C, h, w): its mean over the picture (N, C), every value (N, C * h * w), or
            the map itself.
        task: The kind of problem: it makes logits of the head's outputs.
        positive: The class that the one logit of a binary head stands for.
        domain_head: What a method of domain adaptation trains beside the network; it is no part of the prediction and is not kept.
        stride: Pixels of the input, down and across, that a place of the last feature map stands for, of a task of masks: smaller
            outputs of its head are enlarged to the input, bilinearly. None of other tasks.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        aux_heads: Mapping[str, nn.Module] | None = None,
        aux_depths: Mapping[str, int] | None = None,
        *,
        reads: Literal["mean", "values", "map"] = "mean",
        task: Task = SINGLE_LABEL,
        positive: int = 1,
        domain_head: nn.Module | None = None,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.head = head
        self.aux_heads = nn.ModuleDict(aux_heads)
        self.domain_head = domain_head
        self.reads = reads
        self.task = task
        self.positive = positive
        self.stride = stride
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
        return self.finish(self.run(x))

    def run(self, x: Tensor, *, start: int = 0, stop: int | None = None) -> Tensor:
        """Run the stages from start up to, not including, stop; by default all of them."""
        for stage in list(self.stages.values())[start:stop]:
            x = stage(x)
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, ...) of the last stage's output, with a column for every class: see `Task.expand`."""
        return self.answer(self.read(x))

    def answer(self, read: Tensor) -> Tensor:
        """Return logits (N, classes, ...) of what the head reads."""
        outputs = self.head(read)
        if self.stride is not None:
            outputs = enlarged(outputs, (read.shape[2] * self.stride, read.shape[3] * self.stride))
        return self.task.expand(outputs, self.positive)

    def read(self, x: Tensor) -> Tensor:
        """Return the head's input from the last stage's output: its mean, all values, or the map."""
        return pool(x) if self.pools else torch.flatten(x, 1) if self.reads == "values" else x

    def forward_with_aux(self, x: Tensor, *, aux_heads: Sequence[str], start: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, classes) of the stages from `start` and the head, and those of some auxiliary classifiers."""
        x, aux_logits = self.run_with_aux(x, aux_heads=aux_heads, start=start)
        return self.finish(x), aux_logits

    def run_with_aux(self, x: Tensor, *, aux_heads: Sequence[str], start: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the last stage's output, of the stages from `start`, and the logits (N, classes) of some auxiliary classifiers."""
        aux_logits = {}
        for index, stage in enumerate(list(self.stages.values())[start:], start=start + 1):
            x = stage(x)
            for name in aux_heads:
                if self._tapped[name] == index:
                    aux_logits[name] = self.aux_heads[name](x)
        return x, aux_logits

    def embed(self, x: Tensor, *, at: str | None = None, pooled: bool = True) -> Tensor:
        """Return the output of a stage, by default the last: its mean over the image (N, C), or the map (N, C, h, w)."""
        stop = None if at is None else 1 + list(self.stages).index(at)
        x = self.run(x, stop=stop)
        return pool(x) if pooled else x

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


def pool(x: Tensor) -> Tensor:
    """Average a feature map (N, C, h, w) over the image to (N, C); features (N, C) are returned as they are."""
    return torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1) if x.ndim == 4 else x


def enlarged(x: Tensor, size: Size) -> Tensor:
    """Enlarge maps (N, C, h, w) bilinearly to a height and width; those that have them are returned as they are."""
    return x if x.shape[2:] == size else nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
