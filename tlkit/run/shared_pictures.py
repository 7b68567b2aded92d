"""Jobs that are prepared on pictures that are decoded once for all jobs of a data set."""

from __future__ import annotations

from tlkit.engine.images.library import Library
from tlkit.engine.images.residency import Residency
from tlkit.engine.runtime import Runtime
from tlkit.plans import dataset_images
from tlkit.plans.jobs import Job
from tlkit.recipe import naming
from tlkit.record.timings import EarlierChoices
from tlkit.run import preparation
from tlkit.run.preparation import Prepared


def prepare(
    job: Job, libraries: dict[int, Library], runtime: Runtime, *, earlier: EarlierChoices | None = None,
    batch_size: int | None = None, verify: bool = False, anew: bool = False, residency: Residency | None = None,
) -> Prepared:  # fmt: skip
    """Prepare one job; jobs of one data set share its decoded pictures, and all jobs what stays on a device (`residency`).

    The other arguments are those of `preparation.prepare`.
    """
    with naming.named(job.resolved.where):
        images = dataset_images.images(job.resolved, job.found["data"])
        own = Library(images, note=runtime.observer.note, verify=verify, residency=residency)
        library = libraries.setdefault(id(images), own)
        return preparation.prepare(job, runtime, library=library, earlier=earlier, batch_size=batch_size, anew=anew)
