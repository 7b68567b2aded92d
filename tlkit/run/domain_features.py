"""How far apart a run's source and target are at every stage, before and after training, and a map of both.

The rule: labels name the images on the map, and nothing else depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlkit.engine.domains import distances
from tlkit.engine.evaluate import evaluating
from tlkit.engine.explanation import principal_components
from tlkit.engine.images.device_batches import inputs
from tlkit.engine.images.parts import Part
from tlkit.engine.learner import Learner
from tlkit.errors import StoreError, reason
from tlkit.events import Observer
from tlkit.network.network import Network
from tlkit.plans import even_sample
from tlkit.plans.resolved import Resolved
from tlkit.plugin import Affine, Alignment
from tlkit.record.report_data import ReportData
from tlkit.run.preparation import Prepared
from tlkit.run.stage_outputs import StageOutputs, pooled

FEWEST, MOST = 100, 500  # images of a domain
_LEAST = 2  # images of a domain that have a distance
_BATCH = 32
Rows = NDArray[np.float32]


def of_run(prepared: Prepared, training: Part | None, learner: Learner, *, count: int, device: torch.device) -> ReportData:
    """Return what is shown of source and target of a run with [adapt]; nothing without it.

    Args:
        prepared: The run.
        training: Its training images as they are without augmentation, which are taken where no other source images are evaluated.
        learner: Its network has the weights of the best epoch.
        count: Images of each domain, at most.
        device: The device that the network is on.
    """
    evaluated, table = prepared.evaluated, prepared.plan.tables.adapt
    target = evaluated.also.get(table.target) if table is not None else None
    kinds = {"test": evaluated.test, "validation": evaluated.validation, "training": training}
    found = next(((name, part) for name, part in kinds.items() if part is not None), None)
    if table is None or target is None or found is None:
        return ReportData()
    split, source = found
    start = prepared.start.get().to(device)
    data = collect(
        source, target, start=start, best=learner.network, maps=learner.alignment(), count=count, names=prepared.images.classes,
        device=device, resolved=prepared.job.resolved,
    )  # fmt: skip
    return ReportData({"domains": {"source": split, "target": table.target, **data.about}}, data.arrays)


def collect(
    source: Part, target: Part, *, start: Network, best: Network, count: int, names: Sequence[str], device: torch.device,
    maps: Alignment | None = None, resolved: Resolved | None = None,
) -> ReportData:  # fmt: skip
    """Compare two domains in the network that a run begins from and in that of its best epoch.

    Args:
        source: Images of the source.
        target: Images of the target.
        start: The network before training, on the device.
        best: That of the best epoch, on the device.
        count: Images of each domain, at most.
        names: Of the classes.
        device: The device that both networks are on.
        maps: By which the head reads the output of the last stage: it is compared as it is before, and mapped after.
        resolved: The run's arm: outputs of the network that it begins from are kept in the store, for other arms and seeds. None keeps none.

    Returns:
        "images", "stages", "map" and "notes", with "domain_points": see `record.report_data`.
    """
    few = [(part, _evenly(part.indices, count)) for part in (source, target)]
    sizes = dict(zip(("source", "target"), (len(some) for _, some in few), strict=True))
    about: dict[str, Any] = {"images": sizes, "stages": {}, "notes": []}
    try:
        before = [features(start, *each, device=device, resolved=resolved) for each in few]
        same = _same_stages(start, best)
        after = before
        if len(same) < len(best.stages):  # outputs of stages that did not change are those of before, to the last bit
            trained = [features(best, *each, device=device) for each in few]
            after = [{**now, **{stage: was[stage] for stage in same}} for was, now in zip(before, trained, strict=True)]
    except (RuntimeError, NotImplementedError) as error:  # such as too little memory: the run is finished all the same
        return ReportData(about | {"notes": [f"the domains are not compared: {reason(error)}"]})
    if maps is not None:
        last, width = list(after[0])[-1], len(maps.source.weight)
        if after[0][last].shape[1] == width:
            after = [
                {**found, last: _mapped(found[last], map_)}
                for found, map_ in zip(after, (maps.source, maps.target), strict=True)
            ]
        else:  # the head reads every value of a feature map, and this is its mean
            about["notes"].append(f"{last} is compared as it is: the method maps all {width:,} values that the head reads")
    for stage in after[0]:
        was, now = ([each[stage] for each in found] for found in (before, after))
        first = _between(*was)
        equal = all(np.array_equal(one, other) for one, other in zip(was, now, strict=True))
        about["stages"][stage] = {"before": first, "after": first if equal else _between(*now)}
    points, explained = principal_components.project(np.concatenate([list(each.values())[-1] for each in after]))
    about["map"] = {"explained": explained, "labels": [label for each in few for label in _labels(*each, names)]}
    return ReportData(about, {"domain_points": points})


def features(
    network: Network, part: Part, chosen: NDArray[np.int64], *, device: torch.device, resolved: Resolved | None = None
) -> Mapping[str, Rows]:
    """Return the pooled output (n, C) of each stage for images of a part; with an arm from the store, where it is kept."""
    if resolved is not None:
        with suppress(StoreError):  # without a store they are computed
            return StageOutputs(resolved, None, part, device=device, network=network).rows(chosen, observer=Observer())
    found: dict[str, list[Tensor]] = {name: [] for name in network.stages}
    with evaluating(network), torch.inference_mode():
        for x in inputs(part, chosen, 0, device, _BATCH):
            for name, out in pooled(network, x):
                found[name].append(out)
    return {name: torch.cat(each).cpu().numpy() for name, each in found.items()}


def _mapped(x: Rows, map_: Affine) -> Rows:
    found: Rows = map_(x).astype(np.float32)
    return found


def _same_stages(start: Network, best: Network) -> list[str]:
    """Return the leading stages that two networks have alike, to the last bit of every parameter and buffer."""
    same = []
    for name, stage in start.stages.items():
        mine, theirs = ({**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (stage, best.stages[name]))
        if mine.keys() != theirs.keys() or not all(
            tensor.dtype == theirs[key].dtype and torch.equal(tensor, theirs[key]) for key, tensor in mine.items()
        ):
            break
        same.append(name)
    return same


def _evenly(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return so many images, evenly spread over all, so that classes have their share."""
    return indices[even_sample.positions(len(indices), count)]


def _between(source: Rows, target: Rows) -> dict[str, float] | None:
    """Return the distances of two domains; None where there are none."""
    if min(len(source), len(target)) < _LEAST or not (np.isfinite(source).all() and np.isfinite(target).all()):
        return None
    return distances.between(source, target)


def _labels(part: Part, chosen: NDArray[np.int64], names: Sequence[str]) -> Sequence[str]:
    """Return the labels of images in words; "" where their task has no words."""
    shown = part.task.shown
    return shown.words(part.targets(chosen, 0, torch.device("cpu")), names) if shown is not None else [""] * len(chosen)
