"""Check data.unlabelled against the rest of an arm, and say it as a method of [adapt] whose target is these images. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from tlkit.errors import TlkitError
from tlkit.plans.adaptation import Adaptation, look_up
from tlkit.plans.adaptation_checks import of_second_view
from tlkit.plans.plan import Choice, ImagesPlan, Learns, Plan
from tlkit.plugin import Adapter, Head, Options
from tlkit.recipe.domains import NONE, AdaptTable
from tlkit.recipe.recipe import Arm
from tlkit.recipe.unlabelled import UnlabelledTable
from tlkit.tasks.single_label import SINGLE_LABEL

NAME = "data.unlabelled"


class ConfidentOptions(Options):
    """Options of the loss of images without labels."""

    threshold: float = Field(gt=0, le=1)


_LOSS = Adapter(loss="tlkit.engine.domains.confident:loss", options=ConfidentOptions, together=True, partial=True)


def adaptation(table: UnlabelledTable, *, learns: Learns) -> Adaptation:
    """Return what stands for the table: pseudo-labels in every step, or for a solved head once."""
    solved = learns == "solved"
    loss = replace(_LOSS, second_view=True) if table.second_view else _LOSS
    said = AdaptTable(
        target=NAME, images="all", method=NONE, weight=table.weight, ramp=False, pseudo_labels="confident" if solved else False,
        second_view=table.second_view,
    )  # fmt: skip
    return Adaptation(said, None if solved else loss, ConfidentOptions(threshold=table.threshold), table.threshold)


def of_plan(plan: Plan) -> Adaptation | None:
    """Return what takes images without labels into a plan's run; None without."""
    tables = plan.tables
    if tables.data.unlabelled is not None and plan.learns != "nothing":
        return adaptation(tables.data.unlabelled, learns=plan.learns)
    return None if tables.adapt is None else look_up(tables.adapt)


def problems(arm: Arm, head: Head, *, learns: Learns) -> Iterator[TlkitError]:
    """Yield what an arm has that images without labels cannot be trained on beside.

    Args:
        arm: The arm, which has the table.
        head: The head plugin.
        learns: What the arm learns by.
    """
    table = arm.data.unlabelled
    if table is None or learns == "nothing":
        return
    if head.task != SINGLE_LABEL.name:
        yield TlkitError(
            f"{NAME}: needs one class for each image, and the {arm.head.kind} head has another task.", f"leave {NAME} out"
        )
    if arm.adapt is not None:
        yield TlkitError(
            f"{NAME}: is there beside [adapt], and a run takes images without labels from one of them.", "leave one out"
        )
    yield from of_second_view(arm, table.second_view, place=f"{NAME}.second_view")
    if learns == "solved" and table.second_view:
        yield TlkitError(f"{NAME}.second_view: is there, and a solved head sees each image once, as it is.", "leave it out")
    if learns == "solved" and table.weight != 1:
        yield TlkitError(
            f"{NAME}.weight: is {table.weight:g}, and a solved head counts each image once.", "1.0, or leave it out"
        )


def choices(table: UnlabelledTable | None, images: ImagesPlan, *, learns: Learns) -> Iterator[Choice]:
    """Yield how many images without labels are used, and how."""
    if table is None or learns == "nothing":
        return
    count = f"{images.target:,} images" if images.target else "no image is here yet"
    sure = f"a class counts as its label where its probability is {table.threshold:g} or more"
    if learns == "solved":
        yield Choice("without labels", count, f"{sure}; the head is fitted a second time with these")
    else:
        yield Choice(
            "without labels", count, f"{sure}; a step has as many of them as labelled ones, with weight {table.weight:g}"
        )
        if table.second_view:
            more = ", ".join(each.name for each in table.second_view)
            yield Choice(
                "two views",
                "of each image without labels",
                f"the first gives the label; the second, with {more}, is trained on",
            )
