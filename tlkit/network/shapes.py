"""Run the stages of a network on shapes alone, and find the maps that a head of several stages reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import torch
from torch import nn

from tlkit import tasks
from tlkit.errors import PluginError, TlkitError, reason
from tlkit.network import tokens
from tlkit.plans.packing import Shape
from tlkit.plugin import Backbone, FeatureMap, Head
from tlkit.units import Size, pixels

_SMALLEST = 224  # pixels of the shorter side with which strides are found: of small images two stages may both give one value
_ONE_VALUE = "Expected more than 1 "  # torch.nn.functional.batch_norm and instance_norm, of values or spatial elements
_NEAR = 0.2  # a convolution without padding makes maps a little smaller than the image divided by its stride


def outputs(stages: Iterable[nn.Module], size: Size, *, channels: int) -> Iterator[Shape]:
    """Yield the shape of each stage's output for one image, computed on the meta device.

    Args:
        stages: In order; they are not changed.
        size: Height and width of the image, pixels.
        channels: Of the image.
    """
    x = torch.empty(2, channels, *size, device="meta")  # two, since BatchNorm that trains refuses one value of a channel
    for stage in stages:
        tensors = {name: each.to("meta") for name, each in chain(stage.named_parameters(), stage.named_buffers())}
        dtype = next((each.dtype for each in tensors.values() if each.is_floating_point()), x.dtype)
        with torch.no_grad():
            x = torch.func.functional_call(stage, tensors, (x.to(dtype),))
        yield tuple(x.shape[1:])


def of_stages(
    stages: Mapping[str, nn.Module], backbone: Backbone, size: Size, *, channels: int, whole: bool = False
) -> list[Shape]:
    """Return the shape of each stage's output for one image, as `outputs` yields them; for `whole` see `does_not_run`.

    Raises:
        PluginError: a stage does not run.
    """
    found: list[Shape] = []
    try:
        for shape in outputs(stages.values(), size, channels=channels):
            found.append(shape)
    except Exception as error:  # whatever a third party's forward raises
        raise does_not_run(backbone.build, f"stage {list(stages)[len(found)]}", size, error, whole=whole) from error
    return found


def read(
    stages: Mapping[str, nn.Module], backbone: Backbone, head: Head, size: Size, *, channels: int
) -> dict[int, FeatureMap]:
    """Return the maps that a head reads, by the number of the stage that gives them.

    Args:
        stages: Of the backbone.
        backbone: The plugin that built them.
        head: The plugin of a head that reads maps.
        size: Height and width of the images, pixels.
        channels: Of the images.

    Raises:
        PluginError: a stage does not run.
        TlkitError: the last stage gives no map.
    """
    times = 1 if backbone.fixed_size else -(-_SMALLEST // min(size))
    whole, given_size = tasks.get(head.task).targets.whole, size
    size = size[0] * times, size[1] * times
    try:
        given = of_stages(stages, backbone, size, channels=channels, whole=whole)
    except PluginError:  # of images that nobody asked for
        if size == given_size:
            raise
        size = given_size
        given = of_stages(stages, backbone, size, channels=channels, whole=whole)
    shapes = [tokens.picture_shape(stage, shape, size) for stage, shape in zip(stages.values(), given, strict=True)]
    maps = [index for index, shape in enumerate(shapes) if len(shape) == 3 and min(shape[1:]) > 1]
    if not maps or maps[-1] != len(shapes) - 1:
        raise _no_map(list(stages), shapes, maps, backbone, head)
    if head.reads == "last":
        maps = maps[-1:]
    deepest = {shapes[index][1:]: index for index in maps}  # the last stage of every size
    return {index: FeatureMap(shapes[index][0], _stride(size, shapes[index])) for index in sorted(deepest.values())}


def deepest_stride(stages: Mapping[str, nn.Module], backbone: Backbone, head: Head, size: Size, *, channels: int) -> int:
    """Return the stride of the deepest map that a head of maps reads; the arguments are those of `read`."""
    return max(each.stride for each in read(stages, backbone, head, size, channels=channels).values())


def _stride(size: Size, shape: Shape) -> int:
    """Return the stride of a map: the nearest power of two where that is near, as valid convolutions take a little off a map."""
    ratio = size[0] / shape[1]
    power = 2 ** round(math.log2(ratio))
    return int(ratio) if ratio.is_integer() else power if abs(ratio / power - 1) < _NEAR else round(ratio)


def _no_map(names: list[str], shapes: list[Shape], maps: list[int], backbone: Backbone, head: Head) -> TlkitError:
    name, values = backbone.library or backbone.build, " x ".join(map(str, shapes[-1]))
    hint = f'head.embed = "{names[maps[-1]]}", the last stage that gives one' if maps else "a backbone that keeps one"
    return TlkitError(
        f"head.kind: {head.target} reads feature maps, and {names[-1]}, the last stage of {name}, gives {values} values and no map.",
        hint,
    )


def does_not_run(target: str, part: str, size: Size, error: Exception, *, whole: bool = False) -> PluginError:
    """Return the error for a part of a network that cannot be run on shapes alone: a size that does not suit it, or a plugin's fault.

    Args:
        target: The plugin's function that built it.
        part: "stage layer1", for instance.
        size: Height and width of the images.
        error: That was raised.
        whole: The size is that of whole pictures or crops of them, as for masks and boxes.
    """
    place = "data" if whole else "data.image_size"
    if isinstance(error, ValueError) and _ONE_VALUE in str(error):
        larger = "data.crop_size" if whole else "data.image_size"
        return PluginError(
            f"{place}: images of {pixels(size)} are too small for {part} of {target}: a layer that normalizes would have one value of each "
            "channel, and needs two.",
            f"a larger {larger}",
        )
    hint = (
        "another data.crop_size or data.scale_to"
        if whole
        else "another data.image_size, for instance the backbone's own: leave it out"
    )
    return PluginError(
        f"{place}: images of {pixels(size)} do not pass through {part} of {target}: {reason(error).rstrip('.')}.",
        hint,
        "if no size passes, it is a fault of the plugin, which tlkit check NAME describes: a plan runs the network on shapes alone, so "
        "forward may not look at values, as .item(), .tolist() or `if x.max() > 1` do",
    )
