"""What a recipe's finished runs achieve together: the mean of their probabilities, or a network with the mean of their weights.

The rule: members are chosen by validation images alone, and only runs that predict for the same images are put together.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlkit import files, tasks
from tlkit.engine.images.library import Library
from tlkit.engine.images.parts import Part
from tlkit.engine.ranks.ranks import ALONE
from tlkit.engine.runtime import Runtime
from tlkit.errors import Interrupted, RunFolderError, TlkitError
from tlkit.network import weights
from tlkit.plans import dataset_images, plan_json
from tlkit.plans.jobs import Job
from tlkit.recipe.ensemble import Ensemble
from tlkit.record import ensembles, predictions, run_folder, selection
from tlkit.record.ensembles import Combined, Group
from tlkit.record.run_folder import Coordinates, Metrics
from tlkit.run import decoding, evaluation, loading
from tlkit.run.prediction import Predictor
from tlkit.run.signals import watching
from tlkit.tasks import Predictions, averaging, scoring

_OTHER_TEST = "its members are tested on different images"
_OTHER_VALIDATION = "its members have different validation images, so none could choose among them"


def combine(
    ensemble: Ensemble, recipe_folder: Path, current: Mapping[Coordinates, Path], jobs: Sequence[Job], runtime: Runtime
) -> None:
    """Compute what every ensemble of finished runs achieves, and write it to ensembles.json.

    Args:
        ensemble: The recipe's table.
        recipe_folder: runs/<recipe>.
        current: Run folder of each run of the recipe.
        jobs: Those of its runs whose images and weights are here.
        runtime: Where a network with averaged weights is evaluated; of several processes by this one alone.

    Raises:
        RunFailed: the file cannot be written.
        Interrupted: a signal came.
    """
    known = {job.folder.name: job for job in jobs}
    libraries: dict[int, Library] = {}
    wanted = ensembles.groups(ensemble, current)
    missing = ensembles.missing(recipe_folder, ensemble, wanted)
    with watching() as watch:
        alone = replace(runtime, watch=watch, ranks=ALONE)
        found = [each for each in ensembles.read(recipe_folder, ensemble, wanted) if each.group not in missing]
        for group in missing:
            watch()
            try:
                together = _Members(recipe_folder, group, known)
                if ensemble.average == "probabilities":
                    found.append(together.mean())
                else:
                    found.append(_Soup(together, libraries, alone).greedy())
            except Interrupted:
                raise
            except TlkitError as error:  # a damaged file, or images that are gone, take no result of the runs away
                found.append(Combined(group, why_none=error.problem.rstrip("."), failed=True))
    found.sort(key=lambda each: wanted.index(each.group))
    with files.writing_in(recipe_folder):
        ensembles.write(recipe_folder, ensemble, found)


class _Members:
    """The members of one ensemble, and what they predict.

    Args:
        recipe_folder: runs/<recipe>.
        group: The members.
        jobs: Jobs of the recipe, by the name of their run folder.
    """

    def __init__(self, recipe_folder: Path, group: Group, jobs: Mapping[str, Job]) -> None:
        self.group = group
        self.folders = [recipe_folder / name for name in group.folders]
        self.jobs = jobs
        self._known = [predictions.load(folder) for folder in self.folders]
        text = (self.folders[0] / run_folder.PLAN).read_text(encoding="utf-8")
        self.plan = plan_json.from_json(text)
        adapt = self.plan.tables.adapt
        tested = "test" if adapt is None else f"also.{adapt.target}"  # as arms with [adapt] are compared
        self.splits = {"validation": "validation", "test": tested}  # names of the parts that are evaluated

    def of(self, split: str) -> list[Predictions] | None:
        """Return what each member predicts for "validation" or "test"; None where it has no images, or they have different ones."""
        parts = [known.part(self.splits[split]) for known in self._known]
        first = parts[0]
        same = all(np.array_equal(first.index, each.index) and np.array_equal(first.label, each.label) for each in parts[1:])
        if not same or not len(first.index):
            return None
        task = tasks.get(self.plan.task)
        return [
            Predictions(torch.from_numpy(each.logits), torch.from_numpy(each.label), task, self.plan.positive) for each in parts
        ]

    @property
    def is_tested(self) -> bool:
        """Whether any member has test images."""
        return any(len(known.part(self.splits["test"]).index) for known in self._known)

    def member_accuracy(self) -> float | None:
        """Return the mean accuracy of the members on the test images."""
        tested = self.of("test")
        return None if tested is None else statistics.fmean(scoring.basic(each)["accuracy"] for each in tested)

    def mean(self) -> Combined:
        """Return what the mean of the members' probabilities achieves."""
        found = {split: self.of(split) for split in self.splits}
        scores = {split: None if each is None else scoring.scores(averaging.mean(each)) for split, each in found.items()}
        if all(each is None for each in scores.values()) or (self.is_tested and scores["test"] is None):
            return Combined(self.group, why_none=_OTHER_TEST)
        return Combined(self.group, self.group.folders, scores["validation"], scores["test"], self.member_accuracy())


@dataclass(frozen=True)
class _Soup:
    """A network with the mean of its members' weights.

    Attributes:
        members: Those that may be put in.
        libraries: Decoded pictures, by data set.
        runtime: Where it is evaluated.
    """

    members: _Members
    libraries: dict[int, Library]
    runtime: Runtime

    def greedy(self) -> Combined:
        """Put in one member after the other, the best first, and keep each with which the network is no worse on validation images.

        Source: Wortsman et al. 2022, "Model soups", arXiv:2203.05482, recipe 1.
        """
        group, by = self.members.group, self.members.plan.select_by
        validated = self.members.of("validation")
        if validated is None:
            return Combined(group, why_none=_OTHER_VALIDATION)
        if self.members.is_tested and self.members.of("test") is None:
            return Combined(group, why_none=_OTHER_TEST)
        alone = [selection.worth(scoring.quick(each, asked=by), by) for each in validated]
        order = sorted(range(len(alone)), key=lambda index: alone[index], reverse=True)
        predictor = self._load(order[0])
        parts = self._parts(order[0], predictor)
        total, used = _weights(predictor), [order[0]]
        best = self._worth(predictor, parts["validation"])
        for index in order[1:]:
            more = _weights(self._load(index))
            tried = {name: tensor + more[name] for name, tensor in total.items()}
            _set_(predictor, tried, len(used) + 1)
            worth = self._worth(predictor, parts["validation"])
            if worth[0] >= best[0]:
                total, best, used = tried, worth, [*used, index]
        _set_(predictor, total, len(used))
        scores: dict[str, Metrics] = {
            split: scoring.scores(self._predict(predictor, parts[part]))
            for split, part in self.members.splits.items()
            if part in parts
        }
        names = tuple(group.folders[index] for index in used)
        self._keep(predictor)
        return Combined(
            group, names, scores["validation"], scores.get("test"), self.members.member_accuracy(), weights=group.weights
        )

    def _keep(self, predictor: Predictor) -> None:
        """Write the averaged weights beside the runs, as a run writes its own.

        Raises:
            RunFailed: they cannot be written.
        """
        resolved = self.members.jobs[self.members.group.folders[0]].resolved
        tensors = weights.export(predictor.network, resolved.backbone, linear=resolved.head.fits(resolved.backbone))
        folder = self.members.folders[0].parent
        with files.writing_in(folder):
            weights.write(folder / self.members.group.weights, tensors, {"classes": json.dumps(predictor.classes)})

    def _load(self, index: int) -> Predictor:
        return loading.load(self.members.folders[index], arm=None, device=self.runtime.device)

    def _parts(self, index: int, predictor: Predictor) -> Mapping[str, Part]:
        """Return the held-out images as a member's network takes them."""
        name = self.members.group.folders[index]
        if name not in self.members.jobs:
            raise RunFolderError(f"{name}: its images are not here.")
        job = self.members.jobs[name]
        job = replace(job, resolved=replace(job.resolved, convention=predictor.convention))
        images = dataset_images.images(job.resolved, job.found["data"])
        library = self.libraries.setdefault(id(images), Library(images, note=self.runtime.observer.note))
        return decoding.decode_job(job, library, self.runtime).evaluated.parts

    def _worth(self, predictor: Predictor, part: Part) -> tuple[float, float]:
        by = self.members.plan.select_by
        return selection.worth(scoring.quick(self._predict(predictor, part), asked=by), by)

    def _predict(self, predictor: Predictor, part: Part) -> Predictions:
        return evaluation.predictions(
            predictor.network, part, batch_size=predictor.batch_size, device=self.runtime.device,
            progress=lambda done, total: self.runtime.watch(),
        )  # fmt: skip


def _weights(predictor: Predictor) -> dict[str, Tensor]:
    """Return copies of a network's tensors in float64, in which sums of them are exact enough to be divided again."""
    return {name: tensor.double() for name, tensor in predictor.network.tensors().items()}


def _set_(predictor: Predictor, total: Mapping[str, Tensor], count: int) -> None:
    """Set a network to the mean of `count` networks whose sum is given; a whole number is rounded down."""
    with torch.no_grad():
        for name, tensor in predictor.network.tensors().items():
            tensor.copy_(total[name] / count)
