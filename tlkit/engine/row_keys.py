"""The origin of stored rows: everything besides the image that determines a row.

The rule: when in doubt, it is part of the origin: a row that is computed again costs a moment, a wrong one costs trust.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata, util
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import ImageFile, features
from pydantic import BaseModel
from torch import Tensor, nn

import tlkit
from tlkit import machine as machines
from tlkit.engine import tf32
from tlkit.engine.images.geometry import Geometry
from tlkit.network.network import Network
from tlkit.network.stages import Stage
from tlkit.plans import packing
from tlkit.plugin import Convention
from tlkit.plugin.provenance import BY_VERSION, source_files
from tlkit.record.formats import PrefixPlan
from tlkit.units import Size, pixels

Origin = dict[str, str | int | float | bool | None]
# Modules of ours that, beside `decode`, determine a decoded image.
_DECODING = ("tlkit.engine.images.bands", "tlkit.engine.images.levels", "tlkit.sources.band_files", "tlkit.sources.orientation")
# Libraries that decode files for Pillow, as PIL.features names them: a system's own may be another than Pillow was made with, and
# two versions of libjpeg decode a file to slightly different pixels.
_MATMUL_PRECISION = {"none": "highest", "ieee": "highest", "tf32": "high", "bf16": "medium"}  # torch's two words for the same
_VERSION = re.compile(r"^__version__ = '(.+)'$", re.MULTILINE)  # torchvision/version.py, which its setup.py writes
_CODECS = ("jpg", "libjpeg_turbo", "jpg_2000", "libtiff", "webp", "avif", "zlib")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on; Pillow's and numpy's are in every picture."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "torchvision": _torchvision()}
    return {"tlkit": tlkit.__version__, **found, "numpy": np.__version__, "pillow": PIL.__version__}


@cache
def _torchvision() -> str:
    """Return torchvision's version, read from its file: importing it imports torch's compiler, 1.3 seconds of a processor."""
    found = util.find_spec("torchvision")
    if "torchvision" not in sys.modules and found is not None and found.origin is not None:
        with suppress(OSError):
            if (said := _VERSION.search(Path(found.origin).with_name("version.py").read_text(encoding="utf-8"))) is not None:
                return said[1]
    import torchvision

    return str(torchvision.__version__)


def machine(device: torch.device) -> dict[str, str | int]:
    """Return what the last bits of a computation depend on: device, processor, arithmetic, versions, and the CPU's threads if it computes."""
    if device.type == "cuda":
        return {
            "device": torch.cuda.get_device_name(device),
            "processor": machines.processor(),
            "arithmetic": _gpu_arithmetic(device),
            **versions(),
        }
    return {
        "device": str(device),
        "processor": machines.processor(),
        "threads": torch.get_num_threads(),
        "arithmetic": arithmetic(),
        **versions(),
    }


def arithmetic() -> str:
    """Return what changes last bits on the CPU: instruction sets that torch and oneDNN may use, and how float32 is rounded."""
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "all"
    onednn: Any = torch.backends.mkldnn  # torch leaves its flags untyped
    products, convolutions = onednn.matmul.fp32_precision, onednn.conv.fp32_precision
    # torch.get_float32_matmul_precision says the same of products, and raises where a program set it in another way.
    line = f"{torch.backends.cpu.get_cpu_capability()}, oneDNN {isa}, {_MATMUL_PRECISION[products]}"
    return line if _MATMUL_PRECISION[convolutions] == "highest" else f"{line}, convolutions {convolutions}"


def _gpu_arithmetic(device: torch.device) -> str:
    """Return what changes last bits on a GPU: its capability, libraries, and the flags of convolutions and products."""
    major, minor = torch.cuda.get_device_capability(device)
    deterministic = "deterministic" if torch.backends.cudnn.deterministic else "not deterministic"
    libraries = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return f"capability {major}.{minor}, {libraries}, {tf32.described()}, {deterministic}"


def pictures(geometry: Geometry) -> Origin:
    """Return what determines a decoded picture that was brought to size."""
    sources = code("tlkit.engine.images.decode", "tlkit.engine.images.geometry", *_DECODING)
    return {**_geometry(geometry), **_libraries(), **_band_libraries(geometry), "code": sources}


def decoded(geometry: Geometry) -> Origin:
    """Return what determines a decoded image before it is brought to size."""
    sources = code("tlkit.engine.images.decode", *_DECODING, "tlkit.engine.images.originals")
    limits = {**_limits(geometry), **_libraries(), **_band_libraries(geometry)}
    return {"content": "digest and size of whole images", **limits, "code": sources}


def _band_libraries(geometry: Geometry) -> Origin:
    """Return the versions of what reads images of bands; of colour pictures nothing."""
    if geometry.bands is None:
        return {}
    return {"numpy": np.__version__, "tifffile": _version("tifffile"), "imagecodecs": _version("imagecodecs")}


def _libraries() -> Origin:
    codecs = {f"codec {name}": features.version(name) for name in _CODECS}
    return {
        "pillow": PIL.__version__,
        **codecs,
        "pi-heif": _version("pi-heif"),
        "truncated files": ImageFile.LOAD_TRUNCATED_IMAGES,
    }


@cache
def _version(name: str) -> str | None:
    """Return the version of a library that reads some kind of file; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def inputs(geometry: Geometry, convention: Convention) -> Origin:
    """Return what determines the input of a network for an image that is not augmented."""
    return {**{f"picture {key}": value for key, value in pictures(geometry).items()}, "input": repr(convention)}


def prefix(
    network: Network, stages: int, plan: PrefixPlan, *, backbone: str, build: str, options: Mapping[str, object],
    device: torch.device,
) -> Origin:  # fmt: skip
    """Return what determines the output of leading stages, beside their input. Reads every weight of them.

    What a plugin's code makes of all this shows in `Prefix.fingerprint`, which belongs beside these.

    Args:
        network: The network with its weights.
        stages: How many leading stages.
        plan: How they run.
        backbone: Name of the backbone.
        build: "module:function" that built it; "" where nobody knows.
        options: The backbone's, with their defaults.
        device: The device that computes it.
    """
    modules = list(network.stages.values())[:stages]
    return {
        "backbone": backbone,
        "options": json.dumps(dict(options), sort_keys=True),
        "stages": ", ".join(list(network.stages)[:stages])
        + (", pooled" if network.pools_after(stages) else "")
        + _packed(network, stages),
        "structure": _structure(modules),
        "plugin": _sources(_packages(modules, build)),
        "weights": weights(named for module in modules for named in chain(module.named_parameters(), module.named_buffers())),
        "form": str(plan.compute_format),
        "folded": plan.folded,
        "chunk": plan.chunk,
        "code": code("tlkit.network", "tlkit.engine.formats", "tlkit.engine.prefix", "tlkit.engine.images"),
        **machine(device),
    }


def _packed(network: Network, stages: int) -> str:
    """Return which maps or means of earlier stages are beside the last one's map; "" where a row is the last stage's output as it is."""
    if not network.packing.packs(stages):
        return ""
    names = list(network.stages)
    what = "the means of " if network.packing.means else ""
    return f", packed with {what}{[names[stage] for stage in packing.needed(network.packing.reads, stages)[:-1]]}"


def views(tables: Sequence[BaseModel], *, seed: int, size: Size) -> Origin:
    """Return what determines the augmented views of an image, beside the image and its position in the data set."""
    written = json.dumps([table.model_dump(mode="json") for table in tables], sort_keys=True)
    sources = code("tlkit.engine.augment")
    return {"augment": written, "seed": seed, "size": pixels(size), "augment code": sources}


def _geometry(geometry: Geometry) -> Origin:
    return {
        "size": pixels(geometry.size),
        "resized to": pixels(geometry.resized),
        "resize": geometry.resize,
        "fit": geometry.fit,
        "padding": str(geometry.padding),
        "cut at": str(geometry.at),
        "mirrored": geometry.mirrored,
        **({} if geometry.shrink is None else {"shrunk to": geometry.shrink}),
        **_scaled(geometry),
        **_limits(geometry),
    }


def _scaled(geometry: Geometry) -> Origin:
    """Return how pictures on a canvas are scaled; of others nothing."""
    if geometry.fit != "canvas":
        return {}
    return {
        "scale": geometry.scale,
        "field of view": geometry.field_of_view,
        "scale code": code("tlkit.sources.scaling", "tlkit.engine.images.extents"),
    }


def _limits(geometry: Geometry) -> Origin:
    """Return what a geometry says of decoding."""
    limits: Origin = {"max pixels": geometry.max_pixels, "white": None if geometry.white is None else str(geometry.white)}
    return limits if geometry.bands is None else {**limits, "bands": f"{geometry.bands} of {geometry.values}"}


@cache
def code(*modules: str) -> str:
    """Digest of the source of modules and whole packages of ours, so that no other version's rows are read.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    total = hashlib.sha256()
    for name in sorted(set(modules)):
        sources = tuple(source_files(name))
        if not sources:
            raise ModuleNotFoundError(f"{name}: has no source to read")
        for file in sources:
            total.update(f"{name} {file.name}\0".encode() + file.read_bytes())
    return total.hexdigest()


def plugin(build: str) -> str:
    """Return a digest of the package that holds "module:function", where it is not told apart by its version."""
    return _sources([build.partition(":")[0].partition(".")[0]])


def weights(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return a digest of tensors: of their names, types, shapes and every bit, in this order.

    Args:
        tensors: Names and tensors, on any device.
    """
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _structure(modules: Sequence[nn.Module]) -> str:
    """Digest of what modules show of themselves, and of the order in which a stage runs its own."""
    orders = [each._order for module in modules for each in module.modules() if isinstance(each, Stage)]
    return hashlib.sha256(f"{modules!r} {orders}".encode()).hexdigest()


def _packages(modules: Sequence[nn.Module], build: str) -> list[str]:
    """Top-level packages of the function that built modules, of their classes, and of these classes' bases."""
    classes = {base for module in modules for each in module.modules() for base in type(each).__mro__}
    names = {name.partition(".")[0] for name in (*(each.__module__ for each in classes), build.partition(":")[0])}
    return sorted(names - sys.stdlib_module_names - {""})


def _sources(packages: Sequence[str]) -> str:
    """Digest of packages' versions, and of every source file of those that change without one."""
    total = hashlib.sha256()
    for package in packages:
        total.update(f"{package} {getattr(sys.modules.get(package), '__version__', '')}\0".encode())
        files = () if package in BY_VERSION else tuple(source_files(package))
        if not files and package not in BY_VERSION:  # of a notebook, or compiled: for this process alone
            total.update(f"{os.getpid()}\0".encode())
        for file in files:
            total.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()
