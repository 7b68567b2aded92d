"""Make what a report shows of a network's predictions: the images that it gets wrong, a map, and what the network looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tlkit.engine.explanation import excitation, grad_cam, image_map
from tlkit.engine.explanation.excitation import Excited
from tlkit.engine.images import thumbnails
from tlkit.engine.images.parts import Part
from tlkit.errors import reason
from tlkit.network.network import Network
from tlkit.plans import even_sample
from tlkit.record.report_data import ReportData
from tlkit.run import box_pictures, mask_pictures
from tlkit.tasks import Predictions, Shown

MOST = 400  # images that are scanned for the patches
_WRONG, _RIGHT = 24, 8  # images that are shown: wrong ones; the most and the least confident right ones
_ON_MAP = 100  # images of the map that have a picture
_SIDE, _SMALL, _PATCH = 72, 28, 36  # pixels of an image, of one on the map, and of a patch
_BATCH = 32


def of_images(
    network: Network, part: Part, predicted: Predictions, *, names: Sequence[str], device: torch.device, scanned: int = MOST,
    tile: int | None = None,
) -> ReportData:  # fmt: skip
    """Return what is shown of a network's predictions: single images with Grad-CAM, a map, and patches that excite channels.

    Args:
        network: It predicted them.
        part: The images.
        predicted: The predictions for them; the map is of the features that were kept then.
        names: Of the classes.
        device: The device that the network is on.
        scanned: Images that pass the network again for the patches, at most: they need the output of every stage.
        tile: Side of the tiles in which larger pictures with masks pass it; None for whole pictures.
    """
    about: dict[str, Any] = {"notes": []}
    arrays: dict[str, NDArray[Any]] = {}
    if part.convention.channels == "bands":
        about["notes"].append(
            "Pictures show the first three bands as red, green and blue, each from its 2nd to its 98th percentile."
        )
    reduction = predicted.task.reduction
    if reduction is not None:
        with noted(about, "some pictures are missing"):
            draw = partial(box_pictures.judged, part, predicted)
            if part.masks is not None:
                draw = partial(mask_pictures.drawn, network, part, predicted, device=device, tile=tile)
            found = mask_pictures.of(part, reduction.quality(predicted), reduction.measure, draw=draw)
            about, arrays = {**found.about, "notes": about["notes"]}, dict(found.arrays)
        return ReportData(about, arrays)
    how = predicted.task.shown
    if how is None:
        about["notes"].append("Single images are not shown: its task does not say what they mean in words.")
        return ReportData(about, arrays)
    shown = _Images(network, part, predicted, how, names, device)
    with noted(about, "some pictures are missing"):
        _add_images(about, arrays, shown)
        _add_map(about, arrays, shown)
        _add_patches(about, arrays, shown, most=scanned)
    return ReportData(about, arrays)


@contextmanager
def noted(about: dict[str, Any], what: str) -> Iterator[None]:
    """Turn an error of torch, such as too little memory or an operation without a gradient, into a note that says what is missing."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        about["notes"].append(f"{what}: {reason(error)}")


@dataclass(frozen=True)
class _Images:
    """A part's images with the network and its predictions for them."""

    network: Network
    part: Part
    predictions: Predictions
    how: Shown
    names: Sequence[str]
    device: torch.device

    def inputs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images (n, 3, H, W) of rows of the part, normalised."""
        return self.part.inputs(self.part.indices[rows], 0, self.device).contiguous()

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return images (n, H, W, 3) as they are shown."""
        return thumbnails.pictures(self.part, rows)

    def thumbnails(self, rows: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """Return images (n, h, w, 3) whose longer side is at most `side`."""
        return thumbnails.thumbnails(self.part, rows, side)


def _add_images(about: dict[str, Any], arrays: dict[str, NDArray[Any]], shown: _Images) -> None:
    """Add the images that the network was most wrong about, and the most and the least confident right ones, with Grad-CAM."""
    predictions, how = shown.predictions, shown.how
    logits, targets, chosen = (each.cpu() for each in (predictions.logits, predictions.targets, predictions.chosen))
    losses = predictions.task.losses(logits, targets).double()
    labels, said = how.words(targets, shown.names), how.words(chosen, shown.names)
    right = torch.tensor([one == other for one, other in zip(labels, said, strict=True)])
    order = torch.argsort(losses, stable=True)
    hits, misses = order[right[order]], order[~right[order]].flip(0)
    groups = {
        "wrong": misses[:_WRONG],
        "sure": hits[:_RIGHT],
        "unsure": hits[_RIGHT:].flip(0)[:_RIGHT],
    }
    rows = torch.cat(list(groups.values())).numpy()
    kinds = [name for name, each in groups.items() for _ in range(len(each))]
    sure = predictions.probabilities.cpu()
    about["images"] = [
        {
            "row": int(row),
            "position": int(shown.part.indices[row]),
            "kind": kind,
            "label": labels[row],
            "said": said[row],
            "probability": float(sure[row].max()) if how.one_class else None,
        }
        for row, kind in zip(rows.tolist(), kinds, strict=True)
    ]
    arrays["images"] = shown.thumbnails(rows, _SIDE)
    if how.one_class:
        _add_grad_cam(arrays, shown, groups["wrong"].numpy(), chosen)


def _add_grad_cam(arrays: dict[str, NDArray[Any]], shown: _Images, wrong: NDArray[np.int64], chosen: Tensor) -> None:
    """Add where the network looked in the images that it was wrong about, for the class that it chose."""
    maps = [
        grad_cam.grad_cam(shown.network, shown.inputs(some), chosen[torch.from_numpy(some)].to(shown.device))
        for some in np.array_split(wrong, max(1, -(-len(wrong) // _BATCH)))
        if len(some)
    ]
    if maps and all(each is not None for each in maps):
        found = torch.cat([each for each in maps if each is not None])
        arrays["grad_cam"] = (found.cpu().numpy() * 255).round().astype(np.uint8)


def _add_map(about: dict[str, Any], arrays: dict[str, NDArray[Any]], shown: _Images) -> None:
    """Add the map of some images, by the features that were kept when they were predicted."""
    sampled = shown.predictions.sampled
    if sampled is None:
        return
    rows, placed = sampled.rows, image_map.place(sampled.features)
    if placed.why_not_umap:
        about["notes"].append(f"The map is one of PCA: UMAP failed: {placed.why_not_umap}")
    targets, chosen = shown.predictions.targets[rows].cpu(), shown.predictions.chosen[rows].cpu()
    pictured = even_sample.positions(len(rows), _ON_MAP)
    about["map"] = {
        "method": placed.method,
        "explained": placed.explained,
        "labels": shown.how.words(targets, shown.names),
        "said": shown.how.words(chosen, shown.names),
        "pictured": pictured.tolist(),
    }
    arrays["map_points"], arrays["map_images"] = placed.points, shown.thumbnails(rows[pictured], _SMALL)


def _add_patches(about: dict[str, Any], arrays: dict[str, NDArray[Any]], shown: _Images, *, most: int) -> None:
    """Add the patches that excite a few channels of each stage most."""
    rows = even_sample.positions(len(shown.part.indices), most)
    seen = excitation.scan(shown.network, (shown.inputs(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)))
    about["excited"] = []
    patches = []
    for each in excitation.excited(shown.network, lambda some: shown.inputs(rows[some]), seen):
        about["excited"].append({"stage": each.stage, "channel": each.channel, "part": each.boxes[0].height})
        patches.append(_patches(each, shown.pictures(rows[list(each.images)])))
    if patches:
        arrays["patches"] = np.stack(patches)


def _patches(found: Excited, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the boxes out of pictures (n, H, W, 3): (PATCHES, side, side, 3), black where there are fewer images."""
    out = np.zeros((excitation.PATCHES, _PATCH, _PATCH, 3), np.uint8)
    for place, (picture, box) in enumerate(zip(pictures, found.boxes, strict=True)):
        height, width = picture.shape[:2]
        corners = (box.left * width, box.top * height, (box.left + box.width) * width, (box.top + box.height) * height)
        image = Image.fromarray(picture)
        out[place] = np.asarray(image.resize((_PATCH, _PATCH), Image.Resampling.BILINEAR, box=corners))
    return out
