"""Classes and their labels against what the head can answer: two for a binary one, any number an image for a multi-label one. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tlkit.errors import TlkitError, nearest
from tlkit.plans.plan import Choice, DataFacts
from tlkit.plans.resolve import Resolved
from tlkit.recipe.losses import LossTable
from tlkit.recipe.tables import HeadTable


def problems(resolved: Resolved, facts: DataFacts) -> Iterator[TlkitError]:
    """What an arm says of classes that the images do not bear out; of what is not known yet, nothing."""
    arm, task = resolved.arm, resolved.head.task
    data, head, names = arm.data.name, arm.head, facts.names
    if task == "binary" and facts.classes != 2:
        yield TlkitError(
            f"head.kind: a {head.kind} head is for 2 classes, {data} has {facts.classes}.", 'kind = "linear", for instance'
        )
    if facts.many and task != "multi_label":
        yield TlkitError(
            f"head.kind: an image of {data} may have several classes, and a {head.kind} head answers with one.",
            'kind = "multilabel"',
        )
    if facts.many is False and task == "multi_label":
        yield TlkitError(
            f"head.kind: a {head.kind} head is for images of several classes, and one of {data} has one.", 'kind = "linear"'
        )
    if facts.many and arm.data.split.train_per_class is not None:
        yield TlkitError(
            "data.split.train_per_class: an image of several classes is not of one that could be counted.", "data.split.train"
        )
    if names and head.positive is not None and head.positive not in names:
        yield _no_class("head.positive", head.positive, names, data)
    given = arm.loss.class_weights
    if isinstance(given, dict) and names:
        for name in given:
            if name not in names:
                yield _no_class("loss.class_weights", name, names, data)
        if not any(given.get(name, 1.0) for name in names):
            yield TlkitError("loss.class_weights: are 0 for every class.", "more than 0 for one at least")


def positive(table: HeadTable, names: Sequence[str]) -> int:
    """Return the class that a binary head's number is of; the last one where the recipe or the names say nothing."""
    return names.index(table.positive) if table.positive is not None and table.positive in names else 1


def weights(table: LossTable, facts: DataFacts) -> tuple[float, ...]:
    """Return what an image of each class counts in the loss; () for 1, and where the images are not known yet.

    Balanced, it is images / (classes x images of the class): the mean over images is 1. A class without images has 1.
    """
    given = table.class_weights
    if isinstance(given, dict):
        return tuple(given.get(name, 1.0) for name in facts.names)
    if given is None or not facts.per_class:
        return ()
    total = sum(facts.per_class)
    return tuple(total / (len(facts.per_class) * count) if count else 1.0 for count in facts.per_class)


def choices(resolved: Resolved, facts: DataFacts) -> list[Choice]:
    """Return a line of the plan for the class that a binary head's number is of, and for what classes count in the loss."""
    found, table, names = [], resolved.arm.loss, facts.names
    if resolved.head.task == "binary" and names:
        why = "the last one" if resolved.arm.head.positive is None else "as the recipe says"
        found.append(Choice("positive class", names[positive(resolved.arm.head, names)], why))
    given = weights(table, facts)
    if given and table.class_weights == "balanced":
        found.append(Choice("class weights", _spread(given), "images / (classes x images of the class)"))
    return found


def _spread(given: Sequence[float]) -> str:
    return f"{min(given):.3g} to {max(given):.3g}"


def _no_class(place: str, name: str, names: Sequence[str], data: str) -> TlkitError:
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return TlkitError(f'{place}: {data} has no class "{name}".', f"classes: {shown}", nearest(name, names))
