"""`tlkit advise`: look at images, probe the networks that are here, and say which one to take and what of it to train.

The rule: test images are listed and never opened. Everything that decides comes from training and validation images.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlkit import tasks
from tlkit.advice import arms, candidates, decision, downloads, forecast, more_labels, proposal, sample, telling, trying
from tlkit.advice.arms import Way
from tlkit.advice.budget import Budget, words
from tlkit.advice.candidates import Named, Ready
from tlkit.advice.facts import Facts, Source
from tlkit.advice.probing import Probed, Prober, TooLong
from tlkit.advice.proposal import Proposal
from tlkit.engine.images.library import Library
from tlkit.engine.runtime import Runtime
from tlkit.errors import DataError, TlkitError, option
from tlkit.plans import dataset_images, dataset_parts, jobs
from tlkit.plans.dataset_parts import Selected
from tlkit.plugin import DataFiles, Images
from tlkit.recipe.tables import name_of
from tlkit.record.advice import Advice, Candidate, Expected, MoreLabels, Trial
from tlkit.run.remote_jobs import Elsewhere
from tlkit.sources import data_files, weight_files
from tlkit.sources.places import relative

_DOWNLOADS = 0.5  # share of the time in which weights that the user names must have come
_PROBES = 0.5  # share of the time that is left for probing all networks
_FORWARD = 0.05  # seconds of an image, where they were not measured


def advise(
    source: Source, named: Sequence[Named] | None, out: Path, runtime: Runtime, *, budget: Budget, runs: Path | None,
    scores: bool, download: float = 0.0, place: Elsewhere | None = None,
) -> Advice:  # fmt: skip
    """Look, probe, try, and write a recipe.

    Args:
        source: The images.
        named: The networks that the user names; None: all whose weights are here.
        out: The recipe to write.
        runtime: Where it is computed.
        budget: The time that it may take.
        runs: Folder for the runs that try ways to train; None: nothing is trained.
        scores: Compute transferability scores too.
        download: Bytes of weights that may be downloaded, of networks that the user does not name.
        place: Carries out the runs that try ways to train; None for this process.

    Raises:
        TlkitError: the images cannot be used, no weights are here, or the budget is too small for one probe.
    """
    refuse(source)
    found, images, parts = images_of(source)
    task = tasks.get(source.resolved.head.task)
    head = "linear" if task.targets.one_class else task.head
    strata, names = task.targets.strata(images.splits["train"].targets, images.classes)
    order = sample.order(strata, parts["train"].indices)
    count, cpu = sample.size(len(names), len(order)), runtime.device.type == "cpu"
    ready, notes = ready_networks(source, named, head, budget, download, images=count, fast=not cpu)
    prober = Prober(Library(images, note=runtime.observer.note), order, count, len(names), budget, runtime, scores)
    probed, left = probe(prober, ready, budget, notes)
    best = probed[0]
    facts = Facts(source, images, parts, found)
    advised, ways = _ways(facts, best, out)
    gain = _more_labels(best, budget, prober.head_seconds or 0.0)
    tried: tuple[Trial, ...] = ()
    expected: tuple[Expected, ...] = ()
    others = _others(facts, probed[1:], out)
    trials = None if runs is None else _trials(facts, best, others, out, runs, prober, notes, place)
    if trials is not None:
        stages = tuple(best.ready.resolved.backbone.stages)
        notes += arms.left_out(stages=stages, single=facts.single, least=min(facts.counts))
        advised, expected, tried = _tried(trials, facts, advised, [*ways, *(way for _, way in others.values())], gain)
    chosen = others[advised.network][0] if advised.network else best
    considered = [chosen.candidate, *(each.candidate for each in probed if each is not chosen), *left]
    advice = replace(
        telling.advice(facts, considered, chosen, advised, out, budget), trials=tried, expected=expected, more_labels=gain,
    )  # fmt: skip
    telling.write(out, facts, advised, advice)
    return replace(advice, seconds=budget.spent, notes=tuple(notes))


def refuse(source: Source) -> None:
    """Refuse images that cannot be advised on.

    Raises:
        DataError: they have bands, masks or boxes.
    """
    placed = tasks.get(source.resolved.head.task).targets.whole
    if placed or source.arm.data.channels is not None:
        raise DataError(
            f"advise: images {'with masks or boxes' if placed else 'of bands'} cannot be advised on yet.",
            "" if placed else "tlkit init FOLDER proposes a recipe for them",
        )


def _ways(facts: Facts, probed: Probed, out: Path) -> tuple[Proposal, list[Way]]:
    """Return what the probe proposes for a network, and the ways to train it."""
    tables, network = tables_of(facts.source, probed, out, facts.found)
    resolved, least, single = probed.ready.resolved, min(facts.counts), facts.single
    stages = tuple(resolved.backbone.stages)
    base = proposal.base_of(tables, network=network, image_size=candidates.square(resolved.image_size), single=single)
    epochs = facts.source.arm.schedule.epochs
    advised = proposal.propose(base, probed.candidate, least=least, stages=stages, single=single, epochs=epochs)
    return advised, arms.ways(base, probed.candidate, stages=stages, single=single, least=least)


def _others(facts: Facts, probed: Sequence[Probed], out: Path) -> dict[str, tuple[Probed, Way]]:
    """Return of each other network, by a name for it, the way that the probe proposes for it."""
    found: dict[str, tuple[Probed, Way]] = {}
    for each in probed:
        name = re.sub(r"[^A-Za-z0-9_.]", "_", each.ready.backbone)
        if name not in found:  # of other weights of one network, those that look best
            advised, ways = _ways(facts, each, out)
            found[name] = each, next(way for way in ways if way.name == advised.way).of(name)
    return found


def _trials(
    facts: Facts, best: Probed, others: Mapping[str, tuple[Probed, Way]], out: Path, runs: Path, prober: Prober, notes: list[str],
    place: Elsewhere | None,
) -> trying.Trials | None:  # fmt: skip
    """Return what tries ways to train; None, with a note, where none can be tried."""
    source, networks = facts.source, {"": best} | {name: each for name, (each, _) in others.items()}
    if why := _untriable(source):
        notes.append(f"nothing is tried: {why}")
        return None
    return trying.Trials(
        images=facts.images, train=facts.train, epochs=source.arm.schedule.epochs, own="validation" in facts.images.splits,
        seed=source.recipe.seeds[0], recipe=f"{name_of(out.resolve().stem, 'advised')}-trials", runs=runs,
        places=replace(source.places, recipe=out.resolve().parent), where=source.name,
        forward={name: each.candidate.seconds or _FORWARD for name, each in networks.items()},
        budget=prober.budget, runtime=prober.runtime, notes=notes, place=place,
    )  # fmt: skip


def _tried(
    trials: trying.Trials, facts: Facts, advised: Proposal, ways: Sequence[Way], more: MoreLabels | None
) -> tuple[Proposal, tuple[Expected, ...], tuple[Trial, ...]]:  # fmt: skip
    """Try ways, the plain default first and then what the probe proposes; return the proposal, what it is expected to come to, and the trials."""
    plain, *others = ways
    done = trials.halve([plain, *sorted(others, key=lambda way: way.name != advised.way)])
    if not done:
        return advised, (), ()
    epochs = facts.source.arm.schedule.epochs
    usual = None if more is None else forecast.slope_of(more.images, more.accuracy)
    proposed, expected = decision.propose(done, trials.ways, advised, train=facts.train, epochs=epochs, usual=usual)
    return proposed, expected, tuple(decision.with_reasons(done))


def _untriable(source: Source) -> str:
    """Say why no way to train can be tried; "" where they can."""
    if source.arm.data.split.fractions is not None:
        return "data.split.fractions takes the test images from the same images as the training images"
    return "the recipe has [cross_validation]" if source.recipe.folds else ""


def _more_labels(best: Probed, budget: Budget, head_seconds: float) -> MoreLabels | None:
    """Say what more labels would bring, where there is time for as many heads as that takes."""
    one_class = tasks.get(best.ready.resolved.head.task).targets.one_class
    if not best.read or not one_class or more_labels.HEADS * head_seconds > budget.left:
        return None
    return more_labels.curve(best.read[best.candidate.best], best.labels, best.groups, over=lambda: not budget.left)


def images_of(source: Source) -> tuple[DataFiles, Images, Mapping[str, Selected]]:
    """Return the images and their parts; test images are among them by name alone."""
    resolved = source.resolved
    found = data_files.find_data(resolved.arm.data.name, resolved.dataset, resolved.data_options, source.places, fetch=True)
    images = dataset_images.images(resolved, found)
    fold, *_ = jobs.folds_of(source.recipe.folds)
    return found, images, dataset_parts.select(resolved, images, seed=source.recipe.seeds[0], fold=fold)


def _considered(source: Source, named: Sequence[Named] | None) -> list[Named]:
    """Return the networks that the user names, and else the recipe's own and all others."""
    if named is not None:
        return list(named)
    table = source.arm.backbone
    own = [] if table.weights == "none" else [Named(table.name, table.weights, tuple(table.options.items()))]
    return [*own, *candidates.offered()]


def ready_networks(
    source: Source, named: Sequence[Named] | None, head: str, budget: Budget, room: float, *, images: int, fast: bool
) -> tuple[list[Ready], list[str]]:  # fmt: skip
    """Return the networks whose weights are here or are downloaded, and notes on others.

    Raises:
        TlkitError: there are none.
    """

    def get(given: Sequence[Named], end: float) -> tuple[list[Ready], list[str]]:
        places = replace(source.places, watch=budget.watch(end))
        return candidates.ready(given, source.arm, head=head, places=places, where=source.name)

    ready, notes = get(_considered(source, named), budget.spent + _DOWNLOADS * budget.left)
    offered = [] if named is not None or source.places.offline else downloads.offers(source.arm, source.places)
    if source.arm.data.image_sizes is not None:
        notes.append("data.image_sizes is left out: networks are probed and trained at the last size")
    if room:
        wanted = downloads.chosen(offered, room=room, seconds=downloads.share(budget.left, _PROBES), images=images, fast=fast)
        if not wanted:
            notes.append("nothing is downloaded: no weights that are not here fit the size and the time")
        ready += downloads.fetch(wanted, budget, notes, lambda each, end: get([each], end))
    elif ready and offered:
        notes.append(downloads.hint(offered))
    if not ready:
        raise candidates.nothing_here(notes)
    return ready, notes


def probe(
    prober: Prober, ready: Sequence[Ready], budget: Budget, notes: list[str]
) -> tuple[list[Probed], list[Candidate]]:  # fmt: skip
    """Probe networks as long as there is time; return those that were, the best first, and the others."""
    probed: list[Probed] = []
    late: list[TooLong] = []
    end = budget.spent + _PROBES * budget.left
    for place, each in enumerate(ready):
        prober.runtime.observer.note(f"probing {each.backbone} ({each.weights})")
        try:
            answer = prober.probe(each, seconds=budget.each(len(ready) - place, end=end))
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
    probed = sorted(prober.comparable(probed), key=lambda each: -each.candidate.rank)
    return probed, [each.candidate for each in late]


def tables_of(source: Source, best: Probed, out: Path, found: DataFiles) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the user's recipe says, with a path that begins where the new recipe lies, and the table of the network."""
    tables = source.arm.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    table, resolved = best.ready.resolved.arm.backbone, best.ready.resolved
    key = weight_files.part(table.weights, best.ready.path)
    file = str(best.ready.path.resolve()) + (f"#{key}" if key else "")
    weights = table.weights if table.weights in resolved.backbone.weights else file
    if table.weights.startswith("run:"):
        weights = f"run:{best.ready.path.resolve().parent}"
    options = {"options": dict(table.options)} if table.options else {}
    if not _stays(source, out):
        tables["data"] = with_path(tables["data"], found.root, out)
        tables |= (
            {"also": {name: _also(each, source, out) for name, each in tables["also"].items()}} if "also" in tables else {}
        )
    return tables, {"name": table.name, "weights": weights, **options}


def _stays(source: Source, out: Path) -> bool:
    """Return whether the new recipe lies where the user's does, so that its paths hold."""
    return source.folder is None and out.resolve().parent == source.places.recipe.resolve()


def _also(table: Mapping[str, Any], source: Source, out: Path) -> dict[str, Any]:
    """Return the table of another data set with a path that begins where the new recipe lies."""
    path = table.get("options", {}).get("path")
    return with_path(table, relative(path, source.places), out) if isinstance(path, str) else dict(table)


def with_path(table: Mapping[str, Any], root: Path, out: Path) -> dict[str, Any]:
    """Return the table of a data set whose files lie in a folder, with that folder as a recipe at `out` names it, if it names one."""
    options = dict(table.get("options", {}))
    if "path" not in options:
        return dict(table)
    whole, base = root.resolve(), out.resolve().parent
    options["path"] = whole.relative_to(base).as_posix() if whole.is_relative_to(base) and whole != base else str(whole)
    return {**table, "options": options}
