"""Make report.npz of a run: its kernels before and after, the loss of auxiliary classifiers, and what `report_images` shows.

The rule: it costs a few percent of the run at most, apart from UMAP, which compiles for some seconds where it is installed. It changes
nothing of the run. An error of torch or of UMAP is a note in it, and the run is finished all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlkit.engine.explanation import auxiliary_loss, kernels
from tlkit.engine.explanation.kernels import Kernels
from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.engine.images.parts import Part
from tlkit.engine.learner import Learner
from tlkit.events import Epoch
from tlkit.network.network import Network
from tlkit.plans import even_sample
from tlkit.plans.auxiliary import AuxHeads
from tlkit.plans.choices import training_flops
from tlkit.plans.plan import Plan
from tlkit.record import predictions, report_data
from tlkit.record.report_data import ReportData
from tlkit.run import domain_features, report_images
from tlkit.run.checkpoint import Checkpoint
from tlkit.run.preparation import Prepared
from tlkit.tasks import Predictions
from tlkit.tasks.objective import Objective

_SHARE = 0.015  # of the run's work: images that are scanned for the patches
_FEWEST = 48  # such images, at least


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
    predicted = checkpoint.predicted()
    if prepared.plan.tested == "end":  # then the learner has evaluated the best epoch, and still knows what it kept of it
        predicted = {split: replace(each, masks=learner.predictions[split].masks) for split, each in predicted.items()}
    data = collect(prepared, learner, best, snapshot=found, predicted=predicted, device=device)
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
    with report_images.noted(about, "the loss of the auxiliary classifiers is missing"):
        _add_aux_loss(about, prepared, learner.network, device)
    split = predictions.shown(predicted)
    if split is not None:
        part, names = prepared.evaluated.parts[split], prepared.images.classes
        about["split"] = split
        scanned = _scanned(prepared.plan)
        seen = report_images.of_images(
            learner.network, part, predicted[split], names=names, device=device, scanned=scanned, tile=prepared.plan.tile
        )
        about = {**about, **seen.about, "notes": [*about["notes"], *seen.about["notes"]]}
        arrays = {**arrays, **seen.arrays}
    return ReportData(about, arrays)


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
    few = part.indices[even_sample.positions(len(part.indices), _scanned(plan))]
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


def _scanned(plan: Plan, fewest: int = _FEWEST, most: int = report_images.MOST) -> int:
    """Return how many images are scanned, at most: a share of the forward passes that the run takes, within limits."""
    passes = 0.0
    for phase in plan.phases:
        passes += phase.epochs * plan.images.train * training_flops(plan, phase) / max(plan.flops_per_image, 1)
    return int(np.clip(_SHARE * passes, fewest, most))
