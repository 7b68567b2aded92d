"""Jobs that are prepared on pictures that are decoded once for all jobs of a data set."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tlkit.engine.images.library import Library
from tlkit.engine.images.residency import Residency
from tlkit.engine.ranks.ranks import ALONE, Ranks
from tlkit.events import Observer
from tlkit.plans import dataset_images
from tlkit.plans.jobs import Job
from tlkit.recipe import naming
from tlkit.record.timings import EarlierChoices
from tlkit.run import preparation
from tlkit.run.preparation import Prepared


def prepare(
    job: Job, libraries: dict[int, Library], *, device: torch.device, observer: Observer, earlier: EarlierChoices | None = None,
    batch_size: int | None = None, verify: bool = False, anew: bool = False, watch: Callable[[], None] = lambda: None,
    residency: Residency | None = None, ranks: Ranks = ALONE,
) -> Prepared:  # fmt: skip
    """Prepare one job; jobs of one data set share its decoded pictures, and all jobs what stays on a device (`residency`).

    The other arguments are those of `preparation.prepare`.
    """
    with naming.named(job.resolved.where):
        images = dataset_images.images(job.resolved.dataset, job.found["data"], job.resolved)
        library = libraries.setdefault(id(images), Library(images, note=observer.note, verify=verify, residency=residency))
        return preparation.prepare(
            job,
            library=library,
            images=images,
            device=device,
            observer=observer,
            earlier=earlier,
            batch_size=batch_size,
            anew=anew,
            watch=watch,
            ranks=ranks,
        )
