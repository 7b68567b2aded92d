"""What determines a stored row beside the image itself, as facts that its key is made of.

The rule: when in doubt a fact is in the key: a row that is computed again costs a moment, a wrong one costs trust.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from pydantic import BaseModel
from torch import nn

import tlkit
from tlkit import machine as machines
from tlkit.engine.decode import Geometry
from tlkit.execution import PrefixPlan
from tlkit.network import Network
from tlkit.plugin import Convention

Facts = dict[str, str | int | float | bool | None]
_PACKAGES = ("torch", "torchvision", "timm")  # told apart by their versions, not by their files


def versions() -> dict[str, str]:
    """Return the versions that a result depends on; Pillow's and numpy's are in every picture."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    return {"tlkit": tlkit.__version__, **found, "numpy": np.__version__, "pillow": PIL.__version__}


def machine(device: torch.device) -> dict[str, str | int]:
    """Return what the last bits of a computation depend on: device, processor, threads, versions."""
    return {
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "processor": machines.processor(),
        "threads": torch.get_num_threads(),
        **versions(),
    }


def arithmetic() -> str:
    """Return the settings of this process that change last bits: instruction sets that torch and oneDNN may use, TF32."""
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "all"
    return f"{torch.backends.cpu.get_cpu_capability()}, oneDNN {isa}, {torch.get_float32_matmul_precision()}"


def pictures(geometry: Geometry) -> Facts:
    """Return what determines a decoded picture."""
    return {**_geometry(geometry), "pillow": PIL.__version__, "code": code("tlkit.engine.decode")}


def inputs(geometry: Geometry, convention: Convention) -> Facts:
    """Return what determines the input of a network for an image that is not augmented."""
    return {**{f"picture {key}": value for key, value in pictures(geometry).items()}, "input": repr(convention)}


def prefix(network: Network, stages: int, plan: PrefixPlan, *, backbone: str, device: torch.device) -> Facts:
    """Return what determines the output of leading stages, beside their input. Reads every weight of them.

    Args:
        network: With its weights.
        stages: How many leading stages.
        plan: How they run.
        backbone: Its name.
        device: On which it is computed.
    """
    modules = list(network.stages.values())[:stages]
    return {
        "backbone": backbone,
        "stages": ", ".join(list(network.stages)[:stages]) + (", pooled" if stages == len(network.stages) else ""),
        "structure": hashlib.sha256(repr(modules).encode()).hexdigest(),
        "plugin": _sources(modules),
        "weights": _weights(modules),
        "form": str(plan.form),
        "folded": plan.folded,
        "chunk": plan.chunk,
        "arithmetic": arithmetic(),
        "code": code("tlkit.network", *(f"tlkit.engine.{name}" for name in ("fold", "forms", "prefix", "feed", "data"))),
        **machine(device),
    }


def views(tables: Sequence[BaseModel], *, seed: int, side: int) -> Facts:
    """Return what determines the augmented views of an image, beside the image and its position in the data set."""
    written = json.dumps([table.model_dump(mode="json") for table in tables], sort_keys=True)
    sources = code(*(f"tlkit.engine.{name}" for name in ("augment", "colour", "draws", "randaugment")))
    return {"augment": written, "seed": seed, "side": side, "augment code": sources}


def _geometry(geometry: Geometry) -> Facts:
    return {"short": geometry.short, "side": geometry.side, "resize": geometry.resize}


@cache
def code(*modules: str) -> str:
    """Digest of the source of modules of ours, so that no other version's rows are read."""
    total = hashlib.sha256()
    for name in sorted(set(modules)):
        file = getattr(sys.modules.get(name), "__file__", None)
        total.update(Path(file).read_bytes() if file else name.encode())
    return total.hexdigest()


def _sources(modules: list[nn.Module]) -> str:
    """Digest of the files that the modules' classes stand in; torch's and torchvision's have versions."""
    classes = {type(each) for module in modules for each in module.modules()}
    total, paths = hashlib.sha256(), set()
    for each in classes:
        if each.__module__.partition(".")[0] not in _PACKAGES:
            try:
                paths.add(inspect.getfile(each))
            except (OSError, TypeError):  # of an interactive session, which has no file: for this process alone
                total.update(f"{os.getpid()} {each.__qualname__}".encode())
    for path in sorted(paths):
        total.update(Path(path).read_bytes())
    return total.hexdigest()


def _weights(modules: list[nn.Module]) -> str:
    total = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
