"""Apply a recipe's augmentations to a batch: every image by draws of its own, which depend on seed, epoch and image alone.

The CPU works image by image, an accelerator on a whole batch at a time (`batched`): the same parameters, within a grey level the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tlkit.engine.augment import elastic
from tlkit.engine.augment.batched import Batched, as_arrays, padded
from tlkit.engine.augment.colour import jitter
from tlkit.engine.augment.draws import Draws, Positions, noise
from tlkit.engine.augment.parameters import Parameters, parameters
from tlkit.engine.augment.randaugment import randaugment
from tlkit.engine.augment.rotation import Colour, quarter_turned, turned
from tlkit.engine.augment.windows import Shapes
from tlkit.recipe import augmentations
from tlkit.recipe.augmentations import Augmentation
from tlkit.units import Size


def augment(
    pictures: Tensor,
    tables: Sequence[Augmentation],
    *,
    size: Size,
    seed: int,
    epoch: int,
    images: Positions,
    fill: Colour = (0, 0, 0),
    erase_with: Colour | None = None,
    shapes: Shapes | None = None,
    extents: Positions | None = None,
) -> Tensor:
    """Apply augmentations in the order of the list, all but mixup and cutmix, which `mix` applies to normalised images.

    Args:
        pictures: (n, H, W, 3) uint8, or (n, H, W, bands) uint8 or float32; larger than `size` where a crop without padding is named, or
            of any size where it is resized too, else of that size.
        tables: The recipe's data.augment.
        size: Height and width of the result, pixels.
        seed: The run's seed.
        epoch: From 0; with fixed views, the number of the view.
        images: (n,) positions in the data set, the key of each image's draws.
        fill: Colour of what a rotation uncovers or a crop adds: the mean colour of the weights, or of each band.
        erase_with: Colour that random_erasing fills windows with; None for noise from 0 to 255, a range that bands do not have.
        shapes: (n,) width / height of the images that `pictures` hold whole, squashed to one size; None where they have their own shape.
        extents: (n, 2) height and width of what each picture covers, from its upper left, which crops are taken from; None for all.

    Returns:
        (n, *size, channels) of the type and on the device of pictures.
    """
    held = int(pictures.shape[1]), int(pictures.shape[2])
    drawn = parameters(tables, Draws(seed, epoch, images), held=held, size=size, shapes=shapes, extents=extents)
    if pictures.device.type != "cpu":
        batched = Batched(tables, held=held, size=size, fill=fill, erase_with=erase_with, device=pictures.device)
        arrays = [as_arrays(table, each) for table, each in zip(tables, drawn, strict=True)]
        there = [{name: torch.from_numpy(array).to(pictures.device) for name, array in each.items()} for each in arrays]
        return batched(pictures, there, drawn)
    for table, each in zip(tables, drawn, strict=True):
        pictures = _apply(pictures, table, each, size, fill, erase_with)
    return pictures


def _apply(
    pictures: Tensor, table: Augmentation, drawn: Parameters, size: Size, fill: Colour, erase_with: Colour | None
) -> Tensor:
    match table:
        case augmentations.RandomCrop():
            y, x = drawn["top"], drawn["left"]
            if table.padding is not None:
                pictures = padded(pictures, table.padding, torch.tensor(fill, dtype=torch.float32))
            return torch.stack([p[t : t + size[0], s : s + size[1]] for p, t, s in zip(pictures, y, x, strict=True)])
        case augmentations.RandomResizedCrop():
            return _random_resized_crop(pictures, drawn, size)
        case augmentations.HFlip():
            return torch.stack([p.flip(1) if flip else p for p, flip in zip(pictures, drawn["flip"].tolist(), strict=True)])
        case augmentations.VFlip():
            return torch.stack([p.flip(0) if flip else p for p, flip in zip(pictures, drawn["flip"].tolist(), strict=True)])
        case augmentations.Rotate(steps=None):
            return turned(pictures, drawn["degrees"], fill)
        case augmentations.Rotate():
            return quarter_turned(pictures, drawn["quarters"])
        case augmentations.Elastic():
            return elastic.moved(pictures, torch.from_numpy(drawn["shifts"]), torch.tensor(fill, dtype=torch.float32))
        case augmentations.ColorJitter():
            return jitter(pictures, table, drawn["order"], drawn["amounts"])
        case augmentations.RandomErasing():
            return _random_erasing(pictures, drawn, erase_with)
        case augmentations.RandAugment():
            return randaugment(pictures, table.magnitude, drawn["operations"], drawn["negative"])
        case augmentations.Mixup() | augmentations.Cutmix():
            return pictures


def _random_resized_crop(pictures: Tensor, drawn: Parameters, size: Size) -> Tensor:
    corners = (drawn["top"], drawn["left"], drawn["top"] + drawn["height"], drawn["left"] + drawn["width"])
    boxes = np.stack(corners, axis=1).tolist()
    crops = [picture[t:b, s:e] for picture, (t, s, b, e) in zip(pictures, boxes, strict=True)]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.stack(list(pool.map(lambda crop: resized(crop, size), crops)))


def resized(picture: Tensor, size: Size) -> Tensor:
    """Resize (h, w, channels), uint8 or float32, on the CPU to (*size, channels): bilinear, antialiased.

    Torch resizes bytes as such where the channels are the innermost, as exactly as Pillow (within a grey level): 0.26 to 0.29 ms at
    224 pixels, Pillow 0.57, as floats 0.88 (least of 25 batches of 32, two cores of an AMD EPYC, in two threads).
    """
    x = picture.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)  # (1, 3, h, w)
    return functional.interpolate(x, size=size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)


def _random_erasing(pictures: Tensor, drawn: Parameters, colour: Colour | None) -> Tensor:
    """Fill windows with a byte drawn for every pixel and channel: RE-R of Zhong et al. 2017, the filling that they use.

    Their values are 0 to 255, so it is done to pixels, in its place in the list, and not after normalising. Bands have no such range:
    there windows are filled with a colour, their mean, which is RE-M of the same paper.
    """
    pictures = pictures.clone()
    for image in np.flatnonzero(drawn["erased"]).tolist():
        top, left, height, width = (int(drawn[name][image]) for name in ("top", "left", "height", "width"))
        if colour is not None:
            pictures[image, top : top + height, left : left + width] = torch.tensor(colour, dtype=pictures.dtype)
            continue
        bytes_ = noise(drawn["noise"][image : image + 1], height * width * 3).reshape(height, width, 3)
        pictures[image, top : top + height, left : left + width].copy_(torch.from_numpy(bytes_))
    return pictures
