"""What `tlkit advise` found out, as rich tables. Nothing here prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlkit import units
from tlkit.record.advice import Advice, Candidate, Trial
from tlkit.record.domain_advice import DomainAdvice
from tlkit.reports import plain_table


def advice(found: Advice) -> RenderableType:
    """Return the networks, the stages of the best one, and the advice in a sentence."""
    count, name = found.least
    head = (
        f"{found.source}: {found.classes:,} classes, {found.train:,} training and {found.validation:,} validation images, "
        f"{count:,} in the smallest class ({name})"
    )
    best = found.candidates[0]
    parts: list[RenderableType] = [Text(head, style="bold"), *(Text(line) for line in found.look), Text("")]
    parts.append(_candidates(found.candidates, found.unit))
    if len(found.candidates) > 1:
        parts.append(Text(f"ordered by weights that are {found.order}", style="dim"))
    if best.stages:
        parts += [Text(f"\nstages of {best.name}, {found.sample:,} images", style="bold"), _stages(best, found.unit)]
    if found.trials:
        parts += [Text("\nways to train that were tried", style="bold"), _trials(found.trials)]
    if found.domains is not None:
        parts += _domains(found.domains)
    parts += [Text(""), *(Text(line) for line in _lines(found))]
    parts += [Text(f"note: {line}", style="dim") for line in found.notes]
    return Group(*parts)


def _lines(found: Advice) -> Sequence[str]:
    quadrant = [f"These are {found.quadrant}."] if found.quadrant else []
    expected = [
        f"Whole run of {each.name}: about {each.accuracy:.1%} (90 % interval {100 * each.interval[0]:.1f} to {100 * each.interval[1]:.1f}: "
        f"{each.basis}) in about {units.seconds(each.seconds)}."
        for each in found.expected
    ]
    more = [found.more_labels.words()] if found.more_labels is not None else []
    return [*quadrant, found.sentence, *expected, *found.why, *more]


def _candidates(found: Sequence[Candidate], unit: str) -> Table:
    scores = list(dict.fromkeys(name for each in found for name in each.scores))
    table = plain_table.of(
        "network", "input", "ImageNet", unit, "neighbours", "stage", "fit", "own classifier", "ms an image", *scores, gap=3
    )
    for each in found:
        if not each.stages:
            table.add_row(
                Text(each.name), units.pixels(each.image_size), _percent(each.top1), Text(f"not probed: {each.why_not}")
            )
            continue
        best = each.stage(each.best)
        scored = [f"{each.scores[name]:.3f}" if name in each.scores else "" for name in scores]
        table.add_row(
            Text(each.name), units.pixels(each.image_size), _percent(each.top1), f"{best.accuracy:.1%} +- {100 * best.error:.1f}",
            f"{best.neighbours:.1%}", Text(each.best), each.likeness or "", "" if each.sure is None else f"{each.sure:.0%} sure",
            "" if each.seconds is None else f"{1000 * each.seconds:.3g}", *scored,
        )  # fmt: skip
    return table


def _stages(each: Candidate, unit: str) -> Table:
    table = plain_table.of("stage", unit, "neighbours", "BatchNorm distance", gap=3)
    for stage in each.stages:
        drift = "" if stage.drift is None else f"{stage.drift:.3f}"
        table.add_row(Text(stage.name), f"{stage.accuracy:.1%} +- {100 * stage.error:.1f}", f"{stage.neighbours:.1%}", drift)
    return table


def _trials(found: Sequence[Trial]) -> Table:
    table = plain_table.of("way", "images", "epochs", "validation", "of", "seconds", "", gap=3)
    for each in found:
        table.add_row(
            Text(each.name), f"{each.images:,}", _epochs(each), f"{each.accuracy:.1%}", f"{each.judged:,}", f"{each.seconds:.1f}",
            Text(each.why_lost),
        )  # fmt: skip
    return table


def _domains(found: DomainAdvice) -> list[RenderableType]:
    """Return how far apart two domains are, and what each way to use them comes to."""
    apart = plain_table.of("stage", "proxy A-distance", "MMD", "covariance", gap=3)
    for stage, each in found.distances.items():
        apart.add_row(Text(stage), f"{each['proxy_a']:.2f}", f"{each['mmd']:.3f}", f"{each['covariance']:.3g}")
    ways = plain_table.of("way", "accuracy on the target", "above its labels alone", "", gap=3)
    for way in found.compared:
        if way.accuracy is None:
            ways.add_row(Text(way.name), "", "", Text(f"not tried: {way.why_not}"))
            continue
        gain = ""
        if way.gain is not None:
            low, high = (100 * each for each in way.interval)
            gain = f"{100 * way.gain:+.1f} ({low:+.1f} to {high:+.1f})"
        ways.add_row(Text(way.name), f"{way.accuracy:.1%} +- {100 * way.error:.1f}", gain, Text(way.what))
    source, target = found.images
    return [
        Text(f"\ndistance to {found.source}", style="bold"), apart,
        Text(f"\nways to use both, {source:,} images of the source and {target:,} of the target", style="bold"), ways,
    ]  # fmt: skip


def _epochs(each: Trial) -> str:
    return str(each.epochs) if each.ending is None else f"{each.epochs} of {each.ending.epochs}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}%"
