"""timm's models as stages, random weights: this module has a function for every name of timm's, tlkit_timm.build.resnet18().

What was learned of a model at one image size runs at others where timm can: positions are resampled and windows padded in forward.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import timm
import torch
from torch import nn

from tlkit_timm import cuts

# Arguments by timm's module. They change nothing at the usual image size, and let a model take others.
_ANY_SIZE = {
    "deit": {"dynamic_img_size": True},
    "swin_transformer": {"strict_img_size": False},
    "vision_transformer": {"dynamic_img_size": True},
    "vision_transformer_hybrid": {"dynamic_img_size": True},
}


def arguments(name: str) -> dict[str, bool]:
    """Return what a model is created with beside its name."""
    module: str = timm.models.model_entrypoint(name).__module__
    return _ANY_SIZE.get(module.rpartition(".")[2], {})


def model(name: str) -> nn.Module:
    """Create timm's model of a name, with or without a tag; the tag decides on classes and image size, no weights are loaded.

    Code that looks at values cannot build on the meta device, as most of timm's did before 1.0.22; then it is built in memory and
    moved there.
    """
    where, more = torch.get_default_device(), arguments(name)
    made: nn.Module
    try:
        made = timm.create_model(name, **more)
    except (NotImplementedError, RuntimeError):  # of an operator without shapes alone, and of Tensor.item
        if where.type != "meta":
            raise
        with torch.device("cpu"):
            made = timm.create_model(name, **more).to(where)
    return made


def stages(name: str) -> dict[str, nn.Module]:
    """Build timm's model of a name without its classifier."""
    return cuts.cut(model(name)).stages


def __getattr__(name: str) -> Callable[[], dict[str, nn.Module]]:
    """Return the function that builds the model of a name."""
    if name.startswith("_") or not timm.is_model(name):
        raise AttributeError(f"timm has no model {name}")
    return partial(stages, name)
