"""timm's published files to the names that timm's models have today: a function for every name, tlkit_timm.loaded.resnet18(tensors).

Some files are older than their model's names, or were saved by the paper's own code. timm's loader knows how to read each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import timm
import torch
from torch import Tensor

from tlkit.errors import WeightsError, reason
from tlkit_timm.build import arguments


def _renamed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what timm makes of a file's tensors, classifier included.

    Raises:
        WeightsError: they are of another model.
    """
    source = {"state_dict": dict(tensors)}
    with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten
        try:
            loaded = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **arguments(name))
        except (RuntimeError, KeyError, AttributeError) as error:  # of load_state_dict, and of timm's own renaming
            raise WeightsError(f"timm:{name}: timm cannot load these weights: {reason(error)}.") from error
    found: dict[str, Tensor] = loaded.state_dict()
    return found


def __getattr__(name: str) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Return the function that renames the tensors of a model's file."""
    if name.startswith("_") or not timm.is_model(name):
        raise AttributeError(f"timm has no model {name}")
    return partial(_renamed, name)
