"""The data sets on disk that a model was trained on, so that its training images are not taken for new ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from tlkit.plans.jobs import Job
from tlkit.recipe import parsing
from tlkit.record import run_folder

_NOT_OF_THE_SPLIT = {"path", "channels"}  # options that do not say which images are test images


@dataclass(frozen=True)
class Fitted:
    """A data set that was trained on.

    Attributes:
        content: Digest of its files.
        split: The options by which its test images are held out; None where they may have been trained on.
    """

    content: str
    split: str | None


@dataclass(frozen=True)
class Seen:
    """The data sets that a model was trained on.

    Attributes:
        fits: In memory, one after the other.
    """

    fits: tuple[Fitted, ...] = ()

    def with_fit(self, job: Job) -> Seen:
        """Return these and the data set of a fit; images in memory are none."""
        content = job.inputs.get("data", "")
        if not content:
            return self
        anew = job.resolved.arm.data.split.fractions is not None
        return replace(self, fits=(*self.fits, Fitted(content, None if anew else _split(job.resolved.data_options))))

    def contents(self, run: Path | None) -> list[str]:
        """Return the digest of each data set, twice where two fits held out other test images.

        Args:
            run: Folder of the run whose network the model began with; None for none.
        """
        before = [] if run is None else run_folder.trained_on(run)
        return list(dict.fromkeys(before)) + [each.content for each in dict.fromkeys(self.fits) if each.content not in before]

    def of(self, job: Job, run: Path | None) -> list[Fitted]:
        """Return the fits on a job's data set.

        Args:
            job: The data set.
            run: Folder of the run whose network the model began with; None for none.
        """
        content = job.inputs.get("data", "")
        return [each for each in (*_of_run(run, job), *self.fits) if content and each.content == content]


def held_out(fits: list[Fitted], job: Job) -> bool:
    """Return whether no fit trained on the images that a job's options make the test images."""
    return all(each.split == _split(job.resolved.data_options) for each in fits)


def _of_run(run: Path | None, job: Job) -> Iterator[Fitted]:
    """Yield what a run tells of its training images."""
    contents = [] if run is None else run_folder.trained_on(run)
    if run is None or not contents:
        return
    read, split = parsing.read(run / run_folder.RECIPE), None
    (arm,) = read.arms.values()
    table, same = arm.data, arm.data.name == job.resolved.arm.data.name
    if same and len(contents) == 1 and table.split.fractions is None and read.folds is None:
        split = _split(parsing.options(job.resolved.dataset.options, table.options, place="data.options"))
    yield from (Fitted(each, split) for each in contents)


def _split(options: BaseModel | None) -> str:
    """Return what options say of which images are test images."""
    return "" if options is None else options.model_dump_json(exclude=_NOT_OF_THE_SPLIT)
