"""What a recipe says of classes by their names: head.positive and loss.class_weights."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.errors import TlkitError, first_and_more, nearest
from tlkit.recipe.losses import LossTable
from tlkit.recipe.recipe import Arm
from tlkit.recipe.tables import HeadTable

_NAMED = 4  # classes of masks whose weights a plan tells one by one


def positive(table: HeadTable, names: Sequence[str]) -> int:
    """Return the number of the positive class; 1, the last of two, where the recipe or the names say nothing."""
    return names.index(table.positive) if table.positive is not None and table.positive in names else 1


def weights(table: LossTable, names: Sequence[str], per_class: Sequence[int]) -> tuple[float, ...]:
    """Return what an image of each class counts in the loss, or of masks a pixel; () for 1, and where the images are not known yet.

    Balanced, it is images / (classes x images of the class): the mean over images is 1. A class without images has 1. So it is of pixels.

    Args:
        table: The recipe's [loss].
        names: Of the classes; () where they are not known yet.
        per_class: Training images of each, or of masks pixels; () likewise.
    """
    given = table.class_weights
    if isinstance(given, dict):
        return tuple(given.get(name, 1.0) for name in names)
    if given is None or not per_class:
        return ()
    total = sum(per_class)
    return tuple(total / (len(per_class) * count) if count else 1.0 for count in per_class)


def weight_choices(
    table: LossTable, given: Sequence[float], *, names: Sequence[str], pixels: Sequence[int]
) -> list[tuple[str, str, str]]:
    """Say what balanced weights came to: (what, value, reason).

    Args:
        table: The recipe's [loss].
        given: The weights; () where they are not known yet.
        names: Of the classes.
        pixels: Of each class, where the weights are made from them; else ().
    """
    if not given or table.class_weights != "balanced":
        return []
    shown = f"{min(given):.3g} to {max(given):.3g}"
    if not pixels:
        return [("class weights", shown, "images / (classes x images of the class)")]
    if len(given) <= _NAMED:
        shown = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(names, given, strict=True))
    reason = f"pixels / (classes x pixels of the class), {sum(pixels):,} pixels of the training masks that count"
    return [("class weights", shown, reason)]


def no_positive(arm: Arm) -> list[TlkitError]:
    """Refuse head.positive, of a task whose head has an output for every class."""
    if arm.head.positive is None:
        return []
    return [
        TlkitError(
            f"head.positive: the {arm.head.kind} head has an output for every class.", 'kind = "binary", or leave it out'
        )
    ]


def positive_problems(arm: Arm, names: Sequence[str]) -> list[TlkitError]:
    """Check that head.positive names a class; nothing where the names are not known yet."""
    named = arm.head.positive
    return [] if not names or named is None or named in names else [_no_class("head.positive", named, names, arm)]


def weight_problems(arm: Arm, names: Sequence[str]) -> list[TlkitError]:
    """Check that loss.class_weights names classes, and leaves something to learn; nothing where the names are not known yet."""
    given = arm.loss.class_weights
    if not isinstance(given, dict) or not names:
        return []
    problems = [_no_class("loss.class_weights", name, names, arm) for name in given if name not in names]
    if not any(given.get(name, 1.0) for name in names):
        problems.append(TlkitError("loss.class_weights: are 0 for every class.", "more than 0 for one at least"))
    return problems


def _no_class(place: str, name: str, names: Sequence[str], arm: Arm) -> TlkitError:
    shown = f"classes: {first_and_more(names, 10)}"
    return TlkitError(f'{place}: {arm.data.name} has no class "{name}".', shown, nearest(name, names))
