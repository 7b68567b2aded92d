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

_BIASES = ("head.bias", "fc.bias", "classifier.bias", "head_dist.bias", "last_linear.bias")


def _renamed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what timm makes of a file's tensors, classifier included.

    Raises:
        WeightsError: they are of another model.
    """
    failures: list[Exception] = []
    for more in ({}, *({"num_classes": classes} for classes in _class_counts(tensors))):
        source = {"state_dict": dict(tensors), **more}  # timm loads strictly where both counts are equal
        with torch.random.fork_rng(devices=[]):  # the random weights that are overwritten
            try:
                loaded = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **arguments(name), **more)
            except (RuntimeError, KeyError, AttributeError) as error:  # of load_state_dict, and of timm's own renaming
                failures.append(error)
                continue
        found: dict[str, Tensor] = loaded.state_dict()
        return found
    raise WeightsError(f"timm:{name}: timm cannot load these weights: {reason(failures[0])}.") from failures[0]


def _class_counts(tensors: Mapping[str, Tensor]) -> list[int]:
    """How many classes a file may be of: the lengths of the biases that are called as a classifier's."""
    biases = [x for name, x in tensors.items() if name.endswith(_BIASES) and x.ndim == 1]
    return list(dict.fromkeys(len(x) for x in biases))


def __getattr__(name: str) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Return the function that renames the tensors of a model's file."""
    if name.startswith("_") or not timm.is_model(name):
        raise AttributeError(f"timm has no model {name}")
    return partial(_renamed, name)
