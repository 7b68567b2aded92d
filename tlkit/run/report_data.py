"""Make report.npz of a run: kernels before and after, the images that its network gets wrong, and what its network looks at.

The rule: it costs a few percent of the run at most, apart from UMAP, which compiles for some seconds where it is installed. It changes
nothing of the run. An error of torch or of UMAP is a note in it, and the run is finished all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tlkit.engine.explanation import auxiliary_loss, excitation, grad_cam, image_map, kernels
from tlkit.engine.explanation.excitation import Excited
from tlkit.engine.explanation.kernels import Kernels
from tlkit.engine.images import thumbnails
from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.engine.images.parts import Part
from tlkit.engine.learner import Learner
from tlkit.errors import reason
from tlkit.events import Epoch
from tlkit.network.network import Network
from tlkit.plans.auxiliary import AuxHeads
from tlkit.plans.choices import flops
from tlkit.plans.plan import Plan
from tlkit.record import predictions, report_data
from tlkit.record.report_data import ReportData
from tlkit.run import domain_features, mask_pictures
from tlkit.run.checkpoint import Checkpoint
from tlkit.run.preparation import Prepared
from tlkit.tasks import Predictions, Shown
from tlkit.tasks.objective import Objective

_WRONG, _RIGHT = 24, 8  # images that are shown: wrong ones; the most and the least confident right ones
_SHARE = 0.015  # of the run's work: images that are scanned for the patches
_FEWEST, _MOST = 48, 400  # such images
_ON_MAP = 100  # images of the map that have a picture
_SIDE, _SMALL, _PATCH = 72, 28, 36  # pixels of an image, of one on the map, and of a patch
_BATCH = 32


@dataclass(frozen=True)
class Snapshot:
    """The first kernels of a network at three times, and how far each stage moved to its best epoch."""

    before: Sequence[Kernels]
    last: Sequence[Kernels]
    best: Sequence[Kernels]
    changes: Mapping[str, float]


def last_kernels(learner: Learner) -> Sequence[Kernels]:
    """Return the first kernels of the network as the last epoch left it."""
    with learner.averaged():
        return kernels.first(learner.network)


def write(
    prepared: Prepared, learner: Learner, checkpoint: Checkpoint, best: Epoch, *, last: Sequence[Kernels], device: torch.device
) -> None:  # fmt: skip
    """Write report.npz of a run that has ended.

    Args:
        prepared: The run.
        learner: Gets the weights of the best epoch.
        checkpoint: Has them.
        best: That epoch.
        last: What `last_kernels` returned.
        device: The device that the network is on.
    """
    checkpoint.load_best_(best)
    count = _scanned(prepared.plan, domain_features.FEWEST, domain_features.MOST)
    domains = domain_features.of_run(prepared, _plain(prepared), learner, count=count, device=device)
    found = snapshot(prepared, last, learner.network)
    data = collect(prepared, learner, best, snapshot=found, predicted=checkpoint.predicted(), device=device)
    report_data.save(prepared.job.folder, ReportData({**data.about, **domains.about}, {**data.arrays, **domains.arrays}))


def snapshot(prepared: Prepared, last: Sequence[Kernels], best: Network) -> Snapshot:
    """Compare a network of the best epoch with the one that the run began from, which is built again."""
    start = prepared.start.get()
    found = Snapshot(kernels.first(start), last, kernels.first(best), kernels.change(start, best))
    prepared.start.release()
    return found


def collect(
    prepared: Prepared, learner: Learner, best: Epoch, *, snapshot: Snapshot, predicted: Mapping[str, Predictions], device: torch.device
) -> ReportData:  # fmt: skip
    """Return what a run keeps to be shown.

    Args:
        prepared: The run.
        learner: Its network holds the weights of the best epoch.
        best: That epoch.
        snapshot: Its kernels.
        predicted: The predictions of the best epoch, by split.
        device: The device that the network is on.
    """
    about: dict[str, Any] = {"epoch": best.epoch, "last": learner.progress.epochs, "notes": []}
    arrays: dict[str, NDArray[Any]] = {}
    _add_kernels(about, arrays, snapshot)
    with _noted(about, "the loss of the auxiliary classifiers is missing"):
        _add_aux_loss(about, prepared, learner.network, device)
    split = predictions.shown(predicted)
    if split is not None:
        part, names = prepared.evaluated.parts[split], prepared.images.classes
        about["split"] = split
        scanned = _scanned(prepared.plan)
        seen = of_images(learner.network, part, predicted[split], names=names, device=device, scanned=scanned)
        about = {**about, **seen.about, "notes": [*about["notes"], *seen.about["notes"]]}
        arrays = {**arrays, **seen.arrays}
    return ReportData(about, arrays)


def of_images(
    network: Network, part: Part, predicted: Predictions, *, names: Sequence[str], device: torch.device, scanned: int = _MOST
) -> ReportData:
    """Return what is shown of a network's predictions: single images with Grad-CAM, a map, and patches that excite channels.

    Args:
        network: It predicted them.
        part: The images.
        predicted: The predictions for them; the map is of the features that were kept then.
        names: Of the classes.
        device: The device that the network is on.
        scanned: Images that pass the network again for the patches, at most: they need the output of every stage.
    """
    about: dict[str, Any] = {"notes": []}
    arrays: dict[str, NDArray[Any]] = {}
    if part.convention.channels == "bands":
        about["notes"].append(
            "Pictures show the first three bands as red, green and blue, each from its 2nd to its 98th percentile."
        )
    reduction = predicted.task.reduction
    if reduction is not None:
        with _noted(about, "some pictures are missing"):
            found = mask_pictures.of(network, part, reduction.quality(predicted), reduction.measure, device=device)
            about, arrays = {**found.about, "notes": about["notes"]}, dict(found.arrays)
        return ReportData(about, arrays)
    how = predicted.task.shown
    if how is None:
        about["notes"].append("Single images are not shown: its task does not say what they mean in words.")
        return ReportData(about, arrays)
    shown = _Images(network, part, predicted, how, names, device)
    with _noted(about, "some pictures are missing"):
        _add_images(about, arrays, shown)
        _add_map(about, arrays, shown)
        _add_patches(about, arrays, shown, count=min(scanned, len(part.indices)))
    return ReportData(about, arrays)


@contextmanager
def _noted(about: dict[str, Any], what: str) -> Iterator[None]:
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


def _add_kernels(about: dict[str, Any], arrays: dict[str, NDArray[Any]], found: Snapshot) -> None:
    about["changes"] = dict(found.changes)
    about["kernels"] = []
    for place, (before, last, best) in enumerate(zip(found.before, found.last, found.best, strict=True)):
        about["kernels"].append({"name": before.name, "stage": before.stage, "shape": before.shape, "what": before.what})
        arrays |= {f"kernel{place}_{when}": each.values for when, each in (("before", before), ("last", last), ("best", best))}


def _add_aux_loss(about: dict[str, Any], prepared: Prepared, network: Network, device: torch.device) -> None:
    """Add the loss of auxiliary classifiers that never run in training, which is the same in every epoch."""
    plan, resolved = prepared.plan, prepared.job.resolved
    usable = AuxHeads(resolved.backbone, plan.image_size, resolved.arm.head.aux_weight, resolved.head.pixels).usable
    part = _plain(prepared)
    if part is None or not usable or plan.learns != "steps" or any(phase.aux_heads for phase in plan.phases):
        return
    few = part.indices[np.unique(np.linspace(0, len(part.indices) - 1, num=_scanned(plan), dtype=np.int64))]
    table = plan.tables.loss
    objective = Objective(
        network.task, smoothing=table.label_smoothing, weights=plan.class_weights, device=device, terms=table.terms
    )
    loss = auxiliary_loss.mean(network, part, few, objective, aux_heads=usable, device=device)
    about["aux_loss"] = {"loss": loss, "images": len(few)}


def _plain(prepared: Prepared) -> Part | None:
    """Return training images as they are without augmentation; None where the run decodes no such."""
    if prepared.sample is not None:
        return prepared.sample
    part = prepared.decoded.training
    if prepared.decoded.source_free:
        return None
    plain = evaluation_geometry(
        prepared.plan.image_size, part.convention, prepared.plan.tables.data, canvas=prepared.plan.canvas
    )
    return part if part.pictures.geometry == plain and len(part.indices) else None


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
    pictured = np.unique(np.linspace(0, len(rows) - 1, num=min(_ON_MAP, len(rows)), dtype=np.int64))
    about["map"] = {
        "method": placed.method,
        "explained": placed.explained,
        "labels": shown.how.words(targets, shown.names),
        "said": shown.how.words(chosen, shown.names),
        "pictured": pictured.tolist(),
    }
    arrays["map_points"], arrays["map_images"] = placed.points, shown.thumbnails(rows[pictured], _SMALL)


def _add_patches(about: dict[str, Any], arrays: dict[str, NDArray[Any]], shown: _Images, *, count: int) -> None:
    """Add the patches that excite a few channels of each stage most."""
    rows = np.unique(np.linspace(0, len(shown.part.indices) - 1, num=count, dtype=np.int64))
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


def _scanned(plan: Plan, fewest: int = _FEWEST, most: int = _MOST) -> int:
    """Return how many images are scanned, at most: a share of the forward passes that the run takes, within limits."""
    passes = 0.0
    for phase in plan.phases:
        before = flops(plan, 0, len(phase.prefix))
        stored = phase.fixed is not None and phase.fixed.train is not None
        trained = 3 * (plan.flops_per_image - before) + (0 if stored else before)
        passes += (phase.last - phase.first + 1) * plan.images.train * trained / max(plan.flops_per_image, 1)
    return int(np.clip(_SHARE * passes, fewest, most))
