"""`tlkit advise`: look at images, probe the networks that are here, and say which one to take and what of it to train.

The rule: test images are listed and never opened. Everything that decides comes from training images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlkit import tasks, units
from tlkit.advice import advice_recipe, candidates, proposal, sample, source_classes
from tlkit.advice.budget import Budget, words
from tlkit.advice.candidates import Named, Ready
from tlkit.advice.probing import Probed, Prober, TooLong
from tlkit.advice.proposal import Proposal
from tlkit.engine.images.parts import Library
from tlkit.errors import DataError, TlkitError, first_few, option
from tlkit.events import Observer
from tlkit.inspection import inspecting
from tlkit.inspection.inspected import Inspected
from tlkit.plans import dataset_facts, dataset_parts, jobs
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.resolve import Resolved
from tlkit.plugin import DataFiles, Images
from tlkit.recipe.recipe import Arm, Recipe
from tlkit.record.advice import Advice, Candidate
from tlkit.record.findings import Findings
from tlkit.sources import data_files
from tlkit.sources.places import Places

_PROBES = 0.5  # share of the time for probing all networks


@dataclass(frozen=True)
class Source:
    """The images that advice is asked for.

    Attributes:
        name: The folder or recipe as the user names it.
        recipe: As read; of a folder the one that `tlkit init` proposes.
        arm: Of it: the first one with trained weights.
        resolved: The same arm with its plugins.
        places: Where to look for images and weights.
        folder: The images' folder; None where the source is a recipe.
    """

    name: str
    recipe: Recipe
    arm: Arm
    resolved: Resolved
    places: Places
    folder: Path | None


def advise(
    source: Source, named: Sequence[Named] | None, out: Path, *, budget: Budget, device: torch.device, observer: Observer,
    watch: Callable[[], None] = lambda: None,
) -> Advice:  # fmt: skip
    """Look, probe, and write a recipe.

    Args:
        source: The images.
        named: The networks that the user names; None: all whose weights are here.
        out: The recipe to write.
        budget: The time that it may take.
        device: The device that computes.
        observer: Receives the progress.
        watch: Called between batches; may raise to stop.

    Raises:
        TlkitError: the images cannot be used, no weights are here, or the budget is too small for one probe.
    """
    if source.arm.data.channels is not None:
        raise DataError("advise: images of bands cannot be advised on yet.", "tlkit init FOLDER proposes a recipe for them")
    found, images, parts = _images(source)
    task = source.resolved.head.task
    ready, notes = candidates.ready(
        _considered(source, named), source.arm, task=task, places=source.places, where=source.name
    )  # fmt: skip
    if not ready:
        raise candidates.nothing_here(notes)
    strata, names = tasks.get(task).targets.strata(images.splits["train"].targets, images.classes)
    order = sample.order(strata, parts["train"].indices)
    prober = Prober(
        Library(images, note=observer.note), order, sample.size(len(names), len(order)), len(names), budget, device, observer, watch
    )  # fmt: skip
    probed, left = _probe(prober, ready, budget, notes)
    best = probed[0]
    advised = _proposal(source, best, images, parts, out, found)
    facts = _Facts(source, images, parts, strata, names, found)
    advice = _said(facts, [each.candidate for each in probed] + left, best, advised, out, budget, notes)
    _write(out, source, advised, advice)
    return replace(advice, seconds=budget.spent)


def _images(source: Source) -> tuple[DataFiles, Images, Mapping[str, Selected]]:
    """Return the images and their parts; test images are among them by name alone."""
    resolved = source.resolved
    found = data_files.find_data(resolved.arm.data.name, resolved.dataset, resolved.data_options, source.places, fetch=True)
    images = dataset_facts.images(resolved.dataset, found, resolved)
    fold, *_ = jobs.folds_of(source.recipe.folds)
    return found, images, dataset_parts.select(resolved, images, seed=source.recipe.seeds[0], fold=fold)


def _considered(source: Source, named: Sequence[Named] | None) -> list[Named]:
    """Return the networks that the user names, and else the recipe's own and all others."""
    if named is not None:
        return list(named)
    table = source.arm.backbone
    own = [] if table.weights == "none" else [Named(table.name, table.weights, tuple(table.options.items()))]
    return [*own, *candidates.offered()]


def _probe(
    prober: Prober, ready: Sequence[Ready], budget: Budget, notes: list[str]
) -> tuple[list[Probed], list[Candidate]]:  # fmt: skip
    """Probe networks as long as there is time; return those that were, the best first, and the others."""
    probed: list[Probed] = []
    late: list[TooLong] = []
    for place, each in enumerate(ready):
        prober.observer.note(f"probing {each.backbone} ({each.weights})")
        try:
            answer = prober.probe(each, share=_PROBES / (len(ready) - place))
        except DataError:
            raise
        except TlkitError as error:
            notes.append(f"{each.backbone}: {error.problem}")
            continue
        if isinstance(answer, Probed):
            probed.append(answer)
        else:
            late.append(answer)
    if not probed and late:
        least = min(each.needs for each in late) + budget.spent
        raise TlkitError(
            f"{option('budget', words(budget.seconds))}: is too small for one probe.",
            f"the least that would do here: {option('budget', words(1.2 * least))}",
        )
    if not probed:
        raise candidates.nothing_here(notes)
    probed.sort(key=lambda each: -each.candidate.rank)
    return probed, [each.candidate for each in late]


def _proposal(
    source: Source, best: Probed, images: Images, parts: Mapping[str, Selected], out: Path, found: DataFiles
) -> Proposal:  # fmt: skip
    targets = images.splits["train"].targets[parts["train"].indices]
    counts = tasks.understanding(targets)[0].targets.count(targets, len(images.classes))
    tables = source.arm.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    table, resolved = best.ready.resolved.arm.backbone, best.ready.resolved
    weights = table.weights if table.weights in resolved.backbone.weights else str(best.ready.path.resolve())
    if table.weights.startswith("run:"):
        weights = f"run:{best.ready.path.resolve().parent}"
    network: dict[str, Any] = {
        "name": table.name,
        "weights": weights,
        **({"options": dict(table.options)} if table.options else {}),
    }
    tables["data"] = _with_path(source, tables["data"], out, found)
    return proposal.propose(
        tables, best.candidate, least=int(min(counts)), stages=tuple(resolved.backbone.stages), single=targets.ndim == 1,
        network=network, image_size=candidates.square(resolved.image_size),
    )  # fmt: skip


def _with_path(source: Source, data: Mapping[str, Any], out: Path, found: DataFiles) -> dict[str, Any]:
    """Return the table [data] with a path that begins where the new recipe lies."""
    options = dict(data.get("options", {}))
    if "path" not in options or (source.folder is None and out.resolve().parent == source.places.recipe.resolve()):
        return dict(data)
    root, base = found.root.resolve(), out.resolve().parent
    options["path"] = root.relative_to(base).as_posix() if root.is_relative_to(base) and root != base else str(root)
    return {**data, "options": options}


@dataclass(frozen=True)
class _Facts:
    """The images, counted."""

    source: Source
    images: Images
    parts: Mapping[str, Selected]
    strata: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    names: Sequence[str]
    found: DataFiles

    @property
    def counts(self) -> list[int]:
        """Training images of each class."""
        targets = self.images.splits["train"].targets[self.parts["train"].indices]
        return [int(each) for each in tasks.understanding(targets)[0].targets.count(targets, len(self.images.classes))]


def _said(
    facts: _Facts, considered: Sequence[Candidate], best: Probed, advised: Proposal, out: Path, budget: Budget, notes: Sequence[str]
) -> Advice:  # fmt: skip
    counts, candidate = facts.counts, best.candidate
    least = int(np.argmin(counts))
    shared = source_classes.shared(facts.images.classes) if _of_imagenet(candidate) else ()
    parts = facts.parts
    judged = ""
    if candidate.stages:
        stage = candidate.stage(candidate.best)
        unit = "of images right" if facts.images.splits["train"].targets.ndim == 1 else "ranking precision"
        judged = f" A head on {candidate.best} has {stage.accuracy:.1%} {unit} (standard error {100 * stage.error:.1f}), cross-validated."
    sentence = f"Take {candidate.name} at {units.pixels(candidate.image_size)} and {advised.what}.{judged}"
    why = list(advised.why)
    if shared:
        why.append(
            f"ImageNet has {len(shared)} of the {len(facts.images.classes)} classes too ({first_few(shared)}): weights from it know them, so "
            "these accuracies say little of other classes."
        )
    return Advice(
        source=facts.source.name, classes=len(facts.images.classes), train=len(parts["train"].indices),
        validation=len(parts["validation"].indices) if "validation" in parts else 0,
        least=(counts[least], facts.images.classes[least]), sample=len(best.part.indices),
        unit="accuracy" if facts.images.splits["train"].targets.ndim == 1 else "ranking precision",
        look=_look(facts, best), source_classes=shared, candidates=tuple(considered),
        quadrant=proposal.quadrant(counts[least], candidate.likeness or "similar") if candidate.likeness else "",
        sentence=sentence, why=tuple(why), recipe=str(out), budget=budget.seconds, seconds=budget.spent, notes=tuple(notes),
    )  # fmt: skip


def _of_imagenet(candidate: Candidate) -> bool:
    return candidate.top1 is not None or candidate.weights.startswith("imagenet")


def _look(facts: _Facts, best: Probed) -> tuple[str, ...]:
    """Return lines on the images of the sample: what is left out, duplicates, doubtful labels."""
    lines = [f"left out: {line}" for line in dataset_facts.unused(facts.found)]
    if best.corrupt:
        lines.append(f"{units.images(len(best.corrupt))} of the sample cannot be decoded: {first_few(best.corrupt)}")
    if best.unjudged:
        lines.append(f"{units.images(best.unjudged)} of the sample are of classes with one image, which cannot be judged")
    if len(best.part.indices) < 2:
        return tuple(lines)
    root = facts.found.root if facts.found.files else None
    images = Inspected({"train": best.part}, facts.images.classes, root)
    empty = Findings(data="", folder="", content="", parts={}, classes={})
    seen, _ = inspecting.inspect(images, empty, {"train": best.last})
    totals = seen.totals or {}
    for kind, said in (("exact", "identical pairs of images"), ("near", "pairs of near duplicates")):
        if totals.get(kind):
            pair = next(each for each in seen.pairs if each.kind == kind)
            lines.append(f"{totals[kind]:,} {said} in the sample, {pair.first.name} and {pair.second.name} for instance")
    if totals.get("labels"):
        first = seen.labels[0]
        lines.append(
            f"{totals['labels']:,} labels of the sample look wrong, {first.image.name} for instance looks like {first.rather}: tlkit inspect"
        )
    return tuple(lines)


def _write(out: Path, source: Source, advised: Proposal, advice: Advice) -> None:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in out.resolve().stem).strip("-._")[:80]
    header = {"format": 1, "name": name or "advised"}
    seen = (
        f"{advice.source}: {advice.classes:,} classes, {advice.train:,} training and {advice.validation:,} validation images; the smallest "
        f"class is {advice.least[1]} with {advice.least[0]:,} training images. Heads were judged on {units.images(advice.sample)} of them."
    )
    comments = (seen, *advice.look, advice.sentence, *(f"Why: {line}" for line in advice.why))
    advice_recipe.write(out, advised.tables, header=header, comments=comments)
