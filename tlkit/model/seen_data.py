"""The data sets on disk that a model was trained on, so that its training images are not taken for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit.plans.jobs import Job
from tlkit.record import trained_data
from tlkit.record.trained_data import Fitted


@dataclass(frozen=True)
class Seen:
    """The data sets that a model was trained on.

    Attributes:
        fits: One after the other; first those of the run whose network the model began with.
    """

    fits: tuple[Fitted, ...] = ()

    @classmethod
    def of_run(cls, run: Path | None) -> Seen:
        """Return those of a run, which later may be gone or replaced; None for none."""
        return cls() if run is None else cls(trained_data.of_run(run))

    def with_fit(self, job: Job) -> Seen:
        """Return these and the data sets of a fit; images in memory are none."""
        return Seen((*self.fits, *trained_data.of_arm(job.resolved.arm, job.inputs)))

    def of(self, job: Job) -> list[Fitted]:
        """Return the fits on a job's data set."""
        content = job.inputs.get("data", "")
        return [each for each in self.fits if content and each.content == content]


def held_out(fits: Sequence[Fitted], job: Job) -> bool:
    """Return whether no fit trained on the images that a job's options make the test images."""
    return all(each.split == _split(job) for each in fits)


def tested(fits: Sequence[Fitted], job: Job) -> bool:
    """Return whether a fit may have trained on the own test images of a job's data set."""
    return any(trained_data.tested(each, _split(job)) for each in fits)


def _split(job: Job) -> str:
    return trained_data.split(job.resolved.arm.data.name, job.resolved.data_options)
