"""What advice tells: counts, findings in the sample, the sentence, and the recipe with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlkit import units
from tlkit.advice import advice_recipe, fitted, proposal
from tlkit.advice.budget import Budget
from tlkit.advice.facts import Facts
from tlkit.advice.probing import Probed
from tlkit.advice.proposal import Proposal
from tlkit.compiler import source_classes
from tlkit.errors import first_few
from tlkit.inspection import inspecting
from tlkit.inspection.inspected import Inspected
from tlkit.plans import dataset_facts
from tlkit.recipe.tables import name_of
from tlkit.record.advice import Advice, Candidate
from tlkit.record.findings import Findings

_KEPT = ("seeds", "cross_validation", "evaluation", "loggers")  # keys at the head of the user's recipe that hold for any arm


def advice(
    facts: Facts, considered: Sequence[Candidate], best: Probed, advised: Proposal, out: Path, budget: Budget
) -> Advice:  # fmt: skip
    """Return what is told, but for trials.

    Args:
        facts: The images.
        considered: Every network, the best first.
        best: The best one.
        advised: The recipe.
        out: Its file.
        budget: The time that was allowed.
    """
    counts, candidate = facts.counts, best.candidate
    least = int(np.argmin(counts))
    shared = source_classes.shared(facts.images.classes) if _of_imagenet(candidate) else ()
    parts = facts.parts
    judged = ""
    if candidate.stages and advised.quotes_probe:
        stage = candidate.stage(candidate.best)
        unit = "of images right" if facts.single else "ranking precision"
        judged = f" A head on {candidate.best} has {stage.accuracy:.1%} {unit} (standard error {100 * stage.error:.1f}), cross-validated."
    sentence = f"Take {candidate.name} at {units.pixels(candidate.image_size)} and {advised.what}.{judged}"
    why = list(advised.why)
    if shared:
        share = f"{len(shared):,} of the {len(facts.images.classes):,} classes, or kinds of them ({first_few(shared)})"
        why.append(f"ImageNet has {share}: {source_classes.MEANING}.")
    return Advice(
        source=facts.source.name, classes=len(facts.images.classes), train=len(parts["train"].indices),
        validation=len(parts["validation"].indices) if "validation" in parts else 0,
        least=(counts[least], facts.images.classes[least]), sample=len(best.part.indices),
        unit="accuracy" if facts.single else "ranking precision",
        look=_look(facts, best), source_classes=shared, candidates=tuple(considered),
        quadrant=proposal.quadrant(counts[least], candidate.likeness or "similar") if candidate.likeness else "",
        sentence=sentence, why=tuple(why), recipe=str(out), budget=budget.seconds, seconds=budget.spent, way=advised.way, order=fitted.load().words,
    )  # fmt: skip


def _of_imagenet(candidate: Candidate) -> bool:
    return candidate.top1 is not None or source_classes.of_imagenet(candidate.weights)


def _look(facts: Facts, best: Probed) -> tuple[str, ...]:
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


def write(out: Path, facts: Facts, advised: Proposal, advice: Advice) -> None:
    """Write the recipe with its reasons; seeds, folds, loggers and [evaluation] are those of the user's recipe.

    Raises:
        TlkitError: it cannot be written.
    """
    given = facts.source.recipe.model_dump(mode="json", include=set(_KEPT), exclude_unset=True, exclude_none=True)
    header = {"format": 1, "name": name_of(out.resolve().stem, "advised"), **given}
    seen = (
        f"{advice.source}: {advice.classes:,} classes, {advice.train:,} training and {advice.validation:,} validation images; the smallest "
        f"class is {advice.least[1]} with {advice.least[0]:,} training images. Heads were judged on {units.images(advice.sample)} of them."
    )
    more = (advice.more_labels.words(),) if advice.more_labels is not None else ()
    comments = (seen, *advice.look, advice.sentence, *(f"Why: {line}" for line in advice.why), *more)
    advice_recipe.write(out, advised.tables, header=header, comments=comments)
