"""Stages: the parts of a backbone, whose parameters keep the names of the library that it comes from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from tlkit.errors import PluginError, reason
from tlkit.plugin import Convention

Module = TypeVar("Module", bound=nn.Module)


class Stage(nn.Module):
    """Modules run in order, each registered below its dotted name: Stage({"features.0": conv}) owns "features.0.weight".

    Args:
        modules: Dotted name -> module, in running order.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._order = tuple(modules)
        for path, module in modules.items():
            *parents, name = path.split(".")
            parent: nn.Module = self
            for part in parents:
                if not hasattr(parent, part):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        """Run the modules in order."""
        for path in self._order:
            x = self.get_submodule(path)(x)
        return x


def cut(network: nn.Module, stages: Mapping[str, Sequence[str]], **added: nn.Module) -> dict[str, nn.Module]:
    """Cut a library's network into stages; modules that no stage names are left out.

    Args:
        network: The network as the library builds it.
        stages: Stage -> the library's module names in running order, those without parameters too.
        added: Modules that the library has as code in its forward; named in `stages` like the others. They own nothing.
    """
    return {
        stage: Stage({name: added[name] if name in added else network.get_submodule(name) for name in names})
        for stage, names in stages.items()
    }


class Rescale(nn.Module):
    """Change the mean and std of normalised pixels, as the first operation of a stage; it has no parameters.

    Args:
        before: The convention of the input.
        mean: The mean of every channel of the output.
        std: The standard deviation of every channel of the output.
    """

    def __init__(self, before: Convention, *, mean: float, std: float) -> None:
        super().__init__()
        scales = [each / std for each in before.std]
        shifts = [(each - mean) / std for each in before.mean]
        for name, values in (("scale", scales), ("shift", shifts)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rescale (N, C, H, W)."""
        return x * self.get_buffer("scale") + self.get_buffer("shift")


def copied(stage: str, module: Module) -> Module:
    """Return a copy of a stage that shares nothing with it.

    Raises:
        PluginError: it holds what cannot be copied, as the old torch.nn.utils.weight_norm leaves it.
    """
    try:
        return copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:  # of tensors with a history, and of locks, files, generators
        raise PluginError(
            f"stage {stage}: cannot be copied: {reason(error)}.",
            "of torch.nn.utils.weight_norm: use torch.nn.utils.parametrizations.weight_norm, which can be",
        ) from error
