"""Probe a network: the output of each of its stages for a sample of the training images, and what heads make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tlkit import tasks
from tlkit.advice import imagenet_weights, likeness, probes, ranking, scores
from tlkit.advice.budget import Budget
from tlkit.advice.candidates import Ready
from tlkit.advice.probes import Probe, Rows
from tlkit.engine.images.geometry import evaluation_geometry
from tlkit.engine.images.library import Library
from tlkit.engine.images.parts import Part
from tlkit.engine.images.pictures import Pictures
from tlkit.engine.runtime import Runtime
from tlkit.inspection import duplicates
from tlkit.record.advice import Candidate, Stage
from tlkit.run.stage_outputs import Drift, StageOutputs, source_probabilities

_FIRST = 16  # images whose time tells that of the others
_PIECE, _PIECES = 64, 8  # images, at least, after which it is looked whether there is time for more; at most so many looks
_FEWEST = 20  # images of a sample that says something, or two of each class where that is more
_A_HEAD = 0.5  # seconds of the heads of one stage that are no logistic ones, before any was measured
_UNJUDGED = "no class has two images, one to learn from and one to test"


@dataclass(frozen=True)
class Probed:
    """What probing a network found.

    Attributes:
        candidate: To be told.
        ready: The network.
        part: The sample, decoded for this network.
        last: Pooled output of its last stage (n, features) for the sample.
        corrupt: A line for each image of the sample that cannot be decoded.
        read: Pooled output of each stage (m, features) for the images that can be judged; {} where none can.
        indices: These images (m,).
        labels: Their classes.
        groups: Images of one number go into one fold (m,).
    """

    candidate: Candidate
    ready: Ready
    part: Part
    last: Rows
    corrupt: tuple[str, ...]
    read: Mapping[str, Rows]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def unjudged(self) -> int:
        """Images of the sample of classes that are too small to judge."""
        return len(self.part.indices) - len(self.indices)


@dataclass(frozen=True)
class TooLong:
    """A network that is not probed, because it would take longer than there is.

    Attributes:
        candidate: To be told.
        needs: Seconds of the smallest probe that would do.
    """

    candidate: Candidate
    needs: float


@dataclass
class Prober:
    """Probes networks one after the other.

    Attributes:
        library: The images.
        order: Training images, of which every beginning is balanced: see `sample.order`.
        count: Images of a probe, at most.
        classes: How many there are.
        budget: The time that is left.
        runtime: Where they are computed.
        scores: Compute transferability scores of the last stage too.
        head_seconds: That the heads of one stage take, at most, so far; None before the first network.
        unreadable: A line for each image that left the order because it cannot be decoded.
    """

    library: Library
    order: NDArray[np.int64]
    count: int
    classes: int
    budget: Budget
    runtime: Runtime
    scores: bool = False
    head_seconds: float | None = None
    unreadable: dict[int, str] = field(default_factory=dict)

    def probe(self, ready: Ready, *, seconds: float) -> Probed | TooLong:
        """Probe a network.

        Args:
            ready: The network.
            seconds: That it may take, unless the smallest probe takes more.

        Raises:
            TlkitError: its weights do not fit, or no image of the sample can be decoded.
        """
        resolved = ready.resolved
        geometry = evaluation_geometry(resolved.image_size, resolved.convention, resolved.arm.data)
        pictures = self.library.pictures("train", geometry)
        part = Part(pictures, self.order, resolved.convention, tasks.get(resolved.head.task))
        outputs = StageOutputs(resolved, ready.path, part, device=self.runtime.device, clock=self.budget.clock)
        plain = _plain(ready, outputs)
        each = self._seconds_of_one(part, outputs, seconds)
        if self.head_seconds is None and part.task.targets.one_class:
            self.head_seconds = probes.expected_seconds(self.count, self.classes, self.budget.clock)
        if self.head_seconds is None:
            self.head_seconds = _A_HEAD
        heads = self.head_seconds * len(outputs.widths)

        def cost(count: int) -> float:
            passes = len(outputs.missing(self.order[:count])) + outputs.drifting(count)
            return passes * each + heads

        fewest = min(self.count, max(_FEWEST, 2 * self.classes))
        if cost(fewest) > self.budget.left:
            why = f"its smallest probe takes about {cost(fewest):.0f} s, and {self.budget.left:.0f} s are left"
            return TooLong(replace(plain, why_not=why), cost(fewest))
        sizes = (count for count in (self.count, self.count // 2, self.count // 4) if count > fewest)
        count = next((size for size in sizes if cost(size) <= seconds), fewest)
        count = self._stored(pictures, outputs, fewest, count, end=self.budget.spent + seconds - heads)
        part = replace(part, indices=np.sort(self._readable(pictures, count)))
        rows = outputs.rows(part.indices, observer=self.runtime.observer, watch=self.runtime.watch)
        labels, groups = pictures.split.targets[part.indices], groups_of(part)
        one_class = part.task.targets.one_class
        can = probes.judged(labels, groups, one_class=one_class)
        last = rows[list(rows)[-1]]
        classifier = outputs.classifier()
        own = None if classifier is None else source_probabilities(last, classifier)
        sure = None if own is None else float(own.max(axis=1).mean())
        found = replace(plain, seconds=outputs.seconds, sure=sure, why_not=_UNJUDGED)
        read = {name: each[can] for name, each in rows.items()} if can.any() else {}
        if read:
            judged = self._judged(read, labels[can], groups[can], one_class)
            found = _with_stages(found, judged, outputs.drift(part.indices, watch=self.runtime.watch))
            found = self._ranked(found, last[can], labels[can], None if own is None else own[can], one_class)
        return Probed(
            found, ready, part, last, tuple(self.unreadable.values()), read, part.indices[can], labels[can], groups[can]
        )

    def comparable(self, probed: Sequence[Probed]) -> list[Probed]:
        """Return networks with ranks by the images on which all of them were probed: a head that has seen more images is better.

        Args:
            probed: The networks.
        """
        judged = [each for each in probed if each.read]
        fewest = min((each.indices for each in judged), key=len, default=np.empty(0, np.int64))
        return [each if len(each.indices) <= len(fewest) else self._on(each, fewest) for each in probed]

    def _on(self, each: Probed, images: NDArray[np.int64]) -> Probed:
        """Return a network with the rank that it has by some of its images."""
        mine = np.isin(each.indices, images)
        labels, groups, task = each.labels[mine], each.groups[mine], each.part.task
        one_class, found = task.targets.one_class, each.candidate
        if not probes.judged(labels, groups, one_class=one_class).all():
            return each
        self.runtime.watch()
        heads = {name: probes.probe(rows[mine], labels, groups, one_class=one_class) for name, rows in each.read.items()}
        accuracy = heads[likeness.fit(heads).best].accuracy
        known: Mapping[str, float] = {}
        if one_class and ranking.needs_scores():
            known = scores.of(list(each.read.values())[-1][mine], labels, probabilities=None, names=ranking.SCORES)
        return replace(
            each, candidate=replace(found, rank=ranking.rank(accuracy, len(labels), found.top1, known, self.classes))
        )

    def _seconds_of_one(self, part: Part, outputs: StageOutputs, seconds: float) -> float:
        """Return the seconds that decoding an image and running it through all stages take.

        The first images also take what is done once; where that would halve the sample, others are timed too.
        """
        found = outputs.seconds or 0.0
        for count in (_FIRST, 2 * _FIRST):
            began = self.budget.clock()
            first = self._readable(part.pictures, min(count, self.count))
            absent = len(outputs.missing(first))
            outputs.rows(first, observer=self.runtime.observer, watch=self.runtime.watch)
            took = self.budget.clock() - began
            if absent:
                found = took / absent if count == _FIRST else min(found, took / absent)
            if len(outputs.missing(self.order[: self.count])) * found <= seconds or 2 * took > seconds:
                break
        return found

    def _stored(self, pictures: Pictures, outputs: StageOutputs, fewest: int, count: int, *, end: float) -> int:
        """Store the outputs for the first images of the order, and return for how many: not for all where it takes longer than was expected.

        Args:
            pictures: The images.
            outputs: Of the network.
            fewest: Images that it takes in any case.
            count: Images that it takes at most.
            end: Seconds of the budget after which no more are taken.
        """
        done, piece = fewest, max(_PIECE, -(-count // _PIECES))
        while done < count:
            indices = self._readable(pictures, done)
            if len(absent := outputs.missing(indices)):
                outputs.rows(absent, observer=self.runtime.observer, watch=self.runtime.watch)
                if len(outputs.missing(absent)):  # there is no room in the store: they would be computed again
                    return count
            if self.budget.spent > min(end, self.budget.seconds):
                return done
            done = min(done + piece, count)
        return count

    def _readable(self, pictures: Pictures, count: int) -> NDArray[np.int64]:
        """Decode the first images of the order, and return them; those that cannot be decoded leave it.

        Raises:
            ImageError: none can be decoded.
        """
        while True:
            wanted = self.order[:count]
            corrupt = pictures.prepare(wanted, progress=self.runtime.observer.decoding)
            self.unreadable |= {index: error.problem for index, error in corrupt.items()}
            if not corrupt:
                return wanted
            self.order = self.order[~np.isin(self.order, list(corrupt))]
            if not len(self.order):
                raise next(iter(corrupt.values()))

    def _judged(
        self, rows: Mapping[str, Rows], labels: NDArray[np.int64], groups: NDArray[np.int64], one_class: bool
    ) -> dict[str, Probe]:  # fmt: skip
        found, seconds = {}, []
        for name, each in rows.items():
            self.runtime.watch()
            began = self.budget.clock()
            found[name] = probes.probe(each, labels, groups, one_class=one_class)
            seconds.append(self.budget.clock() - began)
        self.head_seconds = max(seconds)
        return found

    def _ranked(
        self, found: Candidate, last: Rows, labels: NDArray[np.int64], own: NDArray[np.float64] | None, one_class: bool
    ) -> Candidate:  # fmt: skip
        """Return a network with what networks are ordered by, and with the scores that are asked for or that the order needs."""
        if one_class and (self.scores or ranking.needs_scores()):
            names = tuple(scores.SCORES) if self.scores else ranking.SCORES
            found = replace(found, scores=scores.of(last, labels, probabilities=own if self.scores else None, names=names))
        best = found.stage(found.best)
        return replace(found, rank=ranking.rank(best.accuracy, len(labels), found.top1, found.scores, self.classes))


def groups_of(part: Part) -> NDArray[np.int64]:
    """Return a number (n,) that images share which no fold may divide: the data set's groups, else identical images."""
    groups = part.pictures.split.groups
    if groups is not None:
        return np.unique(groups[part.indices], return_inverse=True)[1].reshape(-1)
    return duplicates.groups([part.pictures.originals(part.indices)["digest"], part.pictures.keys(part.indices)])


def _plain(ready: Ready, outputs: StageOutputs) -> Candidate:
    published = imagenet_weights.published(ready.backbone, ready.weights)
    return Candidate(
        ready.backbone, ready.weights, ready.resolved.image_size, None if published is None else published.top1,
        outputs.parameters, outputs.seconds,
    )  # fmt: skip


def _with_stages(plain: Candidate, found: Mapping[str, Probe], drift: tuple[Drift, ...]) -> Candidate:
    fit = likeness.fit(found)
    stages = []
    for name, each in found.items():
        mine = [layer.distance for layer in drift if layer.stage == name]
        mean = float(np.mean(mine)) if mine else None
        stages.append(Stage(name, each.accuracy, each.error, float(each.neighbours.mean()), mean))
    return replace(
        plain, stages=tuple(stages), best=fit.best, likeness=fit.likeness, fit=fit.words(list(found)[-1]), why_not=""
    )
