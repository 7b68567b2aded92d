"""Measure compute formats on a job's own network and images, and remember the result on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tlkit import file_digests
from tlkit.compiler import timing
from tlkit.engine.images.parts import TrainingPart
from tlkit.engine.runtime import Runtime
from tlkit.network.network import Network
from tlkit.plans import even_sample
from tlkit.plans.jobs import Job
from tlkit.plans.plan import Plan
from tlkit.plans.resolved import Resolved
from tlkit.record.timings import Measurements
from tlkit.store import measurements

_IMAGES = 32  # on which compute formats are timed and compared


def remembered(plan: Plan, resolved: Resolved, weights_file: Path | None, *, data: str, device: torch.device) -> Measurements:
    """Return what is known of a plan's speed on this machine; empty, with the reason, where nothing is."""
    known = measurements.recall(_measured_of(plan, resolved, weights_file, data, device))
    if known is not None:
        return known
    why = timing.too_short(plan, device)
    return Measurements(why=why) if why else Measurements()


def recall_or_measure(
    job: Job, plan: Plan, network: Callable[[], Network], train: TrainingPart, runtime: Runtime, *, anew: bool
) -> Measurements:
    """Return what is known of a plan's speed on this machine; measure it if nothing is and the run is long enough.

    Args:
        job: The run.
        plan: The plan of the run.
        network: Returns the network that the run begins from.
        train: The training images of the run.
        runtime: Where it is measured.
        anew: Measure in any case.
    """
    known = remembered(plan, job.resolved, job.weights, data=job.content, device=runtime.device)
    if not anew and (known or timing.too_short(plan, runtime.device)):
        return known
    return measure(job, plan, network(), train, runtime, anew=anew)


def measure(
    job: Job, plan: Plan, network: Network, train: TrainingPart, runtime: Runtime, *, anew: bool = False
) -> Measurements:
    """Measure a run's speed and remember it, unless measuring was given up; the arguments are those of `recall_or_measure`."""
    device, note = runtime.device, runtime.observer.note
    chosen = train.indices[even_sample.positions(len(train.indices), _IMAGES)]
    pictures = train.inputs(chosen, 0, device)
    note(f"{job.label}: trying precisions and memory formats on this machine, once")
    taken = timing.measure(plan, network.to(device), pictures.contiguous(), device=device, watch=runtime.watch, anew=anew)
    if taken.why:
        note(f"{job.label}: {taken.why}; float32 is taken, and the next run tries again")
        return taken
    measurements.remember(_measured_of(plan, job.resolved, job.weights, job.content, device), taken)
    note(f"{job.label}: tried in {taken.seconds:.1f} s; the plan says what was chosen and why")
    if taken.waited > measurements.BUSY:
        note(f"{job.label}: other programs used the processors meanwhile, so it is tried again after a day")
    return taken


def _measured_of(
    plan: Plan, resolved: Resolved, weights_file: Path | None, data: str, device: torch.device
) -> dict[str, object]:
    """What measurements of a plan depend on, the weights by their content."""
    weights = "none" if weights_file is None else file_digests.content([weights_file])
    return timing.key(plan, build=resolved.backbone.build, weights=weights, data=data, device=device)
