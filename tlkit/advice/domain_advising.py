"""`tlkit advise --source`: how far apart two domains are, whether images of the source help, and which method to try.

The rule: heads are judged on labelled images of the target's training part that they have not seen. Test images are never opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlkit.advice import advising, arms, candidates, domain_ways, proposal, sample, telling
from tlkit.advice.budget import Budget, words
from tlkit.advice.candidates import Named
from tlkit.advice.domain_ways import Domains
from tlkit.advice.facts import Facts, Source
from tlkit.advice.probing import Probed, Prober, TooLong
from tlkit.advice.proposal import Proposal
from tlkit.engine.adapting import Rows
from tlkit.engine.domains import distances
from tlkit.engine.images.library import Library
from tlkit.engine.runtime import Runtime
from tlkit.errors import DataError, TlkitError, first_few, option
from tlkit.plans import target_copies
from tlkit.record.advice import Advice
from tlkit.record.domain_advice import Compared, DomainAdvice

_SOURCE = 0.5  # share of the time that is left for the features of the source
_APART = 200  # images of each domain that distances are computed of, at most
_NAME = "target"  # of the target in [also]


@dataclass(frozen=True)
class Pair:
    """Both domains, and what one network makes of them.

    Attributes:
        source: The source.
        target: The target.
        of_source: What probing the network on the source found.
        of_target: The same of the target.
    """

    source: Facts
    target: Facts
    of_source: Probed
    of_target: Probed

    @property
    def last(self) -> str:
        """The network's last stage."""
        return list(self.of_target.read)[-1]

    @property
    def stage(self) -> str:
        """The stage that heads of all ways read, and that of the recipe: the one that a head reads the target's labelled images best at."""
        return self.of_target.candidate.best if self.of_source.read else self.last

    def features(self) -> Domains:
        """Return what heads read of both domains, with the classes of the source."""
        source, target, classes = self.of_source, self.of_target, self.source.images.classes
        places = np.array([classes.index(name) for name in self.target.images.classes])
        if self.stage == self.last:
            rows = Rows(source.last, source.part.pictures.split.targets[source.part.indices], None)
        else:  # kept of the images that could be judged: of classes with two images and more
            rows = Rows(source.read[self.stage], source.labels, None)
        return Domains(rows, target.read[self.stage], places[target.labels], target.groups, len(classes))


def advise(
    target: Source, source: Source, named: Sequence[Named] | None, out: Path, runtime: Runtime, *, budget: Budget, scores: bool,
    download: float = 0.0,
) -> Advice:  # fmt: skip
    """Look, compare, and write a recipe. The arguments are those of `advising.advise`.

    Args:
        target: The folder that advice is asked for, with few labelled images.
        source: The folder with images of the same classes of another domain.
        named: The networks that the user names; None: all whose weights are here.
        out: The recipe to write.
        runtime: Where it is computed.
        budget: The time that it may take.
        scores: Compute transferability scores too.
        download: Bytes of weights that may be downloaded, of networks that the user does not name.

    Raises:
        TlkitError: the images cannot be used, no weights are here, or the budget is too small.
    """
    facts = _facts(target), _facts(source)
    _refuse(*facts)

    def prober(each: Facts, indices: NDArray[np.int64]) -> Prober:
        order = sample.order(each.images.splits["train"].targets, indices)
        count = sample.size(len(each.images.classes), len(order))
        library = Library(each.images, note=runtime.observer.note)
        return Prober(library, order, count, len(each.images.classes), budget, runtime, scores)

    every = np.arange(len(facts[0].images.splits["train"].targets))  # [also] holds no validation images out
    mine, theirs = prober(facts[0], every), prober(facts[1], facts[1].parts["train"].indices)
    ready, notes = advising.ready_networks(
        target, named, "linear", budget, download, images=mine.count, fast=runtime.device.type != "cpu"
    )
    probed, left = advising.probe(mine, ready, budget, notes)
    best = probed[0]
    if not best.read:
        raise DataError(f"advise: {target.name}: {best.candidate.why_not}.", "more labelled images of the target")
    runtime.observer.note(f"embedding {source.name} by {best.ready.backbone}")
    of_source = theirs.probe(best.ready, seconds=_SOURCE * budget.left)
    if isinstance(of_source, TooLong):
        raise TlkitError(
            f"{option('budget', words(budget.seconds))}: is too small for the images of {source.name}.",
            f"the least that would do here: {option('budget', words(1.2 * (of_source.needs + budget.spent)))}",
        )
    pair = Pair(facts[1], facts[0], of_source, best)
    compared = domain_ways.compare(pair.features(), budget=budget, watch=runtime.watch)
    chosen = domain_ways.best(compared)
    found = _told(pair, compared, budget=budget, watch=runtime.watch)
    advised = _proposal(pair, chosen, found, out)
    considered = [best.candidate, *(each.candidate for each in probed[1:]), *left]
    advice = telling.advice(facts[0], considered, best, advised, out, budget)
    advice = replace(advice, domains=found, quadrant="")
    telling.write(out, facts[0], advised, advice)
    return replace(advice, seconds=budget.spent, notes=tuple(notes))


def _facts(source: Source) -> Facts:
    advising.refuse(source)
    found, images, parts = advising.images_of(source)
    return Facts(source, images, parts, found)


def _refuse(target: Facts, source: Facts) -> None:
    """Refuse domains that are one, or whose classes are not those of the source."""
    names = target.source.name, source.source.name
    if not (target.single and source.single):
        raise DataError("advise: both domains need one class for each image.")
    if unknown := [each for each in target.images.classes if each not in source.images.classes]:
        raise DataError(
            f"advise: {names[0]} has classes that {names[1]} has no images of: {first_few(unknown)}.",
            f"classes of {names[1]}: {first_few(source.images.classes)}",
        )
    found = target_copies.copies(source.images, target.images)
    if found.same > target_copies.NEARLY_ALL * found.target:
        raise DataError(f"advise: {found.words(*names)}.", "a folder of another domain")


def _told(pair: Pair, compared: tuple[Compared, ...], *, budget: Budget, watch: Callable[[], None]) -> DomainAdvice:
    """Return what is known of the domains: their distances at each stage that there is time for, that of the heads first."""
    stages, said = list(pair.of_target.read), domain_ways.verdict(compared)
    apart: dict[str, dict[str, float]] = {}
    longest = 0.0
    for stage in dict.fromkeys((pair.stage, *reversed(stages))):
        if longest > budget.left or not pair.of_source.read:
            break
        watch()
        began = budget.clock()
        apart[stage] = distances.between(*(_few(each.read[stage]) for each in (pair.of_source, pair.of_target)))
        longest = max(longest, budget.clock() - began)
    return DomainAdvice(
        pair.source.source.name, (len(pair.of_source.last), len(pair.of_target.labels)), pair.stage,
        {stage: apart[stage] for stage in stages if stage in apart}, compared, *said,
    )  # fmt: skip


def _few(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images at even distances, few enough to be compared soon."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _APART)).round().astype(np.int64))]


def _proposal(pair: Pair, chosen: Compared, found: DomainAdvice, out: Path) -> Proposal:
    """Return the recipe of a way, and why it is taken."""
    target, source, best = pair.target, pair.source, pair.of_target
    least = int(np.unique(target.images.splits["train"].targets, return_counts=True)[1].min())
    table = domain_ways.table(chosen.name, target=_NAME, labels=least)
    alone = chosen.name == domain_ways.TARGET
    own, network = advising.tables_of(target.source if alone else source.source, best, out, (target if alone else source).found)
    size = candidates.square(best.ready.resolved.image_size)
    embed = "" if pair.stage == pair.last else pair.stage
    tables = dict(arms.solved(proposal.base_of(own, network=network, image_size=size), chosen.name, embed).tables)
    penalty = domain_ways.PENALTY * (table.label_weight if alone else 1)  # a copy of an image counts as C does
    tables["head"] = {**tables["head"], "kind": domain_ways.HEAD, "options": {"C": penalty}}
    if not alone:
        tables["also"] = {**tables.get("also", {}), _NAME: _also(target, out)}
        tables["adapt"] = table.model_dump(mode="json", exclude_unset=True, exclude={"source"})
        tables["adapt"] = {key: value for key, value in tables["adapt"].items() if key != "labels_per_class" or value}
    on = f" on its stage {embed}" if embed else ""
    return Proposal(  # the probe's head is of another C: what is quoted is of the head that the recipe has
        tables, f"a logistic regression{on}: {chosen.what}", _why(pair, chosen, found), chosen.name, quotes_probe=False
    )


def _also(target: Facts, out: Path) -> Mapping[str, Any]:
    data = target.source.arm.data.model_dump(mode="json", include={"name", "options"})
    return advising.with_path(data, target.found.root, out)


def _why(pair: Pair, chosen: Compared, found: DomainAdvice) -> tuple[str, ...]:
    lines = []
    if found.stage in found.distances:
        apart = found.distances[found.stage]
        lines.append(
            f"At {found.stage} the domains have a proxy A-distance of {apart['proxy_a']:.2f} (0: no linear classifier tells them apart, 2: "
            f"one always does) and an MMD of {apart['mmd']:.3f}."
        )
    lines.append(
        f"{len(pair.of_target.labels):,} labelled images of {pair.target.source.name} were judged, each by heads that have not seen it: "
        f"{100 * (chosen.accuracy or 0):.1f} % right (standard error {100 * chosen.error:.1f}) by {chosen.what}, at {found.stage}."
    )
    lines += _not_tried(pair, found)
    if pair.stage != pair.last:
        lines.append(
            f"All ways were compared at {pair.stage}, which a head of these images reads better than the last stage, {pair.last}."
        )
    if found.words:
        lines.append(found.words)
    if chosen.gain is not None:
        low, high = (100 * each for each in chosen.interval)
        tried = sum(each.accuracy is not None for each in found.compared)
        lines.append(
            f"Against the target's labelled images alone: {100 * chosen.gain:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}). It is the "
            f"best of {tried}, so a little less is to be expected."
        )
    return tuple(lines)


def _not_tried(pair: Pair, found: DomainAdvice) -> list[str]:
    """Say how many ways were not tried, and that nothing was compared where only one was."""
    untried = [each for each in found.compared if each.accuracy is None]
    if not untried:
        return []
    ways, why = (
        f"{len(untried)} of {len(found.compared)} ways {'was' if len(untried) == 1 else 'were'} not tried ({untried[0].name}: {untried[0].why_not})",
        "",
    )
    if len(untried) == len(found.compared) - 1:
        why = f": nothing was compared, and whether images of {pair.source.source.name} help is not known"
    return [f"{ways}{why}."]
