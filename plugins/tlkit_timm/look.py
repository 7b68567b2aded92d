"""What a model of timm's is, found by building it on the meta device: stages, features, image sizes, trained weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Protocol, cast

import timm
import torch

from tlkit import network
from tlkit.errors import PluginError, TlkitError, nearest, reason
from tlkit.plugin import HUB, HUB_SITE, Backbone, Convention, Download, Weights
from tlkit_timm import build, cuts
from tlkit_timm.cuts import Cut

_FILTERS: dict[str, Literal["nearest", "bilinear", "bicubic"]] = {name: name for name in ("nearest", "bilinear", "bicubic")}
# Sides in pixels that are tried for the smallest; 70 and 112 are multiples of a patch of 14 pixels.
_SIDES = (32, 64, 70, 96, 112, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)
_CHECKED = 64  # pixels, with which tlkit.testing tries a backbone that takes them
# A file whose name ends in the beginning of its sha256, torch.hub's custom.
_HASHED = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pth\.tar|pt|bin|safetensors)")


class Config(Protocol):
    """The fields of timm.models.PretrainedCfg that matter here."""

    url: str | None
    hf_hub_id: str | None
    input_size: tuple[int, int, int]  # channels, height, width
    fixed_input_size: bool
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    license: str | None


def backbone(name: str) -> Backbone:
    """Return timm's model of a name, with or without a tag.

    Raises:
        PluginError: there is none, or it is no network from a square picture to one row of features.
    """
    _refuse_unknown(name)
    config = cast(Config, timm.models.get_pretrained_cfg(name) or timm.models.PretrainedCfg())
    channels, *sides = config.input_size
    if channels != 3 or len(set(sides)) > 1:
        raise PluginError(
            f"timm:{name}: wants images of {channels} channels, {sides[0]}x{sides[1]} px; tlkit's have 3 and are square."
        )
    try:
        with torch.device("meta"):
            model = build.model(name)
        kind, names, made = type(model).__name__, cuts.classifiers(model), cuts.cut(model)
    except TlkitError:
        raise
    except Exception as error:  # whatever a model's code raises
        raise PluginError(f"timm:{name}: cannot be built: {reason(error)}.") from error
    features, minimum = _sizes(name, made, sides[0])
    fixed = minimum == sides[0] and not _takes(made, 2 * sides[0], 2 * sides[0])
    millions = sum(parameter.numel() for stage in made.stages.values() for parameter in stage.parameters()) / 1e6
    return Backbone(
        build=f"tlkit_timm.build:{name}",
        stages={stage: tuple(cuts.owned(module)) for stage, module in made.stages.items()},
        features=features,
        classifier=names[0] if names else "classifier",
        library=f"timm.{name}",
        input=_convention(config),
        weights=_weights(name, config),
        image_size=sides[0],
        minimum_size=minimum,
        fixed_size=fixed,
        summary=f"timm's {kind}, {millions:.1f} million parameters before the classifier",
        beyond=made.left_out,
        cut=_told(kind, inside=made.inside),
        rename=f"tlkit_timm.loaded:{name}",
        dropout=made.dropout,
    )


def _refuse_unknown(name: str) -> None:
    architecture, _, tag = name.partition(".")
    renamed: Mapping[str, str | None] = timm.models.get_deprecated_models()
    if architecture in renamed:
        now = renamed[architecture]
        raise PluginError(f'timm: there is no model "{architecture}" any more.', f'now "timm:{now}"' if now else "")
    if not timm.is_model(architecture):
        raise PluginError(f'timm: there is no model "{architecture}".', nearest(architecture, timm.list_models()))
    tags = [each.partition(".")[2] for each in timm.models.get_arch_pretrained_cfgs(architecture)]
    if tag not in ("", *tags):
        known = f"tags: {', '.join(filter(None, tags))}" if any(tags) else "it has no tags"
        raise PluginError(f'timm: {architecture} has no trained weights "{tag}".', known, nearest(tag, tags))


def _sizes(name: str, made: Cut, side: int) -> tuple[int, int]:
    """Features, and the smallest side of an image that gives them."""
    try:
        shape = _shape(made, side)
    except Exception as error:  # whatever a model's forward raises
        raise PluginError(f"timm:{name}: cannot be run on shapes alone with images of {side} px: {reason(error)}.") from error
    if len(shape) != 2 or shape[0] != 1:
        raise PluginError(f"timm:{name}: gives {shape} for an image, not one row of features.")
    return shape[1], next(least for least in (*(each for each in _SIDES if each < side), side) if _takes(made, least, side))


def _takes(made: Cut, least: int, side: int) -> bool:
    try:
        return all(len(_shape(made, tried)) == 2 for tried in {least, max(least, min(side, _CHECKED)), side})
    except Exception:  # too small, or no multiple of what it must be
        return False


def _shape(made: Cut, side: int) -> tuple[int, ...]:
    """Shape of what the stages make of an image."""
    x: object = torch.empty(1, 3, side, side, device="meta")
    with torch.no_grad():
        for stage in made.stages.values():
            x = stage.eval()(x)
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"a {type(x).__name__} comes out")
    return tuple(network.pool(x).shape)


def _weights(name: str, config: Config) -> dict[str, Weights]:
    """Trained weights of a model, those of the tag alone where the name has one.

    Of a model that is made for one image size, only those of that size.
    """
    architecture, _, tag = name.partition(".")
    found: dict[str, Config] = timm.models.get_arch_pretrained_cfgs(architecture)
    offered = {}
    for full, each in found.items():
        own = full.partition(".")[2]
        fits = not each.fixed_input_size or each.input_size == config.input_size
        if own and fits and tag in ("", own):
            source = _source(full, each)
            if source is not None:
                offered[own] = _trained(full, source, each)
    return offered


def _source(full: str, config: Config) -> Download | None:
    """Where a file is: at an address that tells its checksum, else at the hub, else nowhere that can be trusted."""
    file = (config.url or "").rpartition("/")[2]
    digits = _HASHED.search(file)
    if config.url and digits is not None:
        return Download(url=config.url, checksum=f"sha256:{digits[1]}", filename=file)
    if config.hf_hub_id != f"timm/{full}":  # others' repositories keep their files under names of their own
        return None
    return Download(url=f"{HUB_SITE}/timm/{full}/resolve/main/model.safetensors", checksum=HUB, filename=f"{full}.safetensors")


def _trained(full: str, source: Download, config: Config) -> Weights:
    squashed = "; timm squashes pictures to a square for them, tlkit crops" if config.crop_mode == "squash" else ""
    return Weights(
        source=source,
        input=_convention(config),
        rename=f"tlkit_timm.loaded:{full}",
        classes=config.num_classes,
        licence=config.license or "",
        summary=f"timm's {full}{squashed}",
    )


def _convention(config: Config) -> Convention:
    """The pixels are RGB of 0 to 1. A crop of more than the picture, which a few have, is the whole picture."""
    (r, g, b), (x, y, z) = config.mean, config.std
    resize = _FILTERS.get(config.interpolation, "bicubic")
    return Convention(mean=(r, g, b), std=(x, y, z), resize=resize, crop=min(config.crop_pct, 1.0))


def _told(kind: str, *, inside: bool) -> tuple[str, str]:
    if inside:
        return "after every stage", f"timm's {kind} is one of the families that are taken apart"
    return (
        "before the head only",
        f"timm's {kind} is run whole, so that it is frozen or trained as one stage or by module paths",
    )
