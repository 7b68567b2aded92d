"""Check what the tables of one arm say against each other, and against its backbone and its task. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tlkit import tasks, units
from tlkit.errors import TlkitError, nearest
from tlkit.plugin import Backbone, Head
from tlkit.recipe import augmentations, expansion, maps
from tlkit.recipe.augmentations import Rotate
from tlkit.recipe.map_tables import Auto, Rate, RateRange
from tlkit.recipe.messages import dotted, shown
from tlkit.recipe.recipe import Arm
from tlkit.recipe.schedules import OneCycle
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.sources import weight_files
from tlkit.tasks import Task
from tlkit.units import Size


def rate(value: float | Auto | Rate | RateRange) -> Rate:
    """Return a value of [lr_groups] as a table, also if it is a number, "auto", or a range."""
    if isinstance(value, RateRange):
        return Rate(lr=value.to, weight_decay=value.weight_decay, momentum=value.momentum)
    return value if isinstance(value, Rate) else Rate(lr=value)


def task_problems(arm: Arm, head: Head) -> list[TlkitError]:
    """What the recipe says that the head's task cannot do."""
    try:
        task = tasks.get(head.task)
    except TlkitError as error:
        return [error.at(f"head.kind: {arm.head.kind}")]
    return [
        *task.recipe_problems(arm),
        *_selection_problems(arm, head, task),
        *_search_problems(arm, head, task),
        *_term_problems(arm, task),
    ]


def _term_problems(arm: Arm, task: Task) -> list[TlkitError]:
    """What is added to the loss that the task has not."""
    return [
        TlkitError(f"loss.{name}: the {arm.head.kind} head has no such term of the loss.", "leave it out, or a head of masks")
        for name, weight in arm.loss.terms.items()
        if weight and name not in task.terms
    ]


def selected_by(arm: Arm, head: Head) -> Arm:
    """Return an arm whose `select_by` is a metric; "auto" stays where it is accuracy, so that its digest is the one of before."""
    task = tasks.get(head.task)
    name = task.select_by if arm.select_by == "auto" else arm.select_by
    usual = task.select_by == name == "accuracy"
    return arm.model_copy(update={"select_by": "auto" if usual else name})


def _selection_problems(arm: Arm, head: Head, task: Task) -> list[TlkitError]:
    if arm.select_by == "auto" or arm.select_by in task.selectable:
        return []
    if arm.select_by in WITHOUT_LABELS:
        if arm.adapt is not None and not head.solve:
            return []
        return [
            TlkitError(
                f"select_by: {arm.select_by} is a score of the target of [adapt], for a head that is trained by steps.",
                f"one of: auto, {', '.join(task.selectable)}",
            )
        ]
    what = f'select_by: the {arm.head.kind} head has no metric "{arm.select_by}".'
    known = (*task.selectable, *(WITHOUT_LABELS if arm.adapt is not None else ()))
    return [TlkitError(what, f"one of: auto, {', '.join(known)}", nearest(arm.select_by, known))]


def _search_problems(arm: Arm, head: Head, task: Task) -> list[TlkitError]:
    """What a solved head's search for its main option cannot go by."""
    by, given = arm.select_by, arm.head.options.get(head.searched) is not None
    if not head.searched_by or given or by not in task.selectable or by in head.searched_by:
        return []
    what = f"select_by: the search for {head.searched} of the {arm.head.kind} head cannot go by {by}."
    return [TlkitError(what, f"one of: {', '.join(head.searched_by)}", f"or give it: head.options.{head.searched}")]


def only_evaluated(arm: Arm, backbone: Backbone) -> bool:
    """Return whether an arm only evaluates an earlier run: it starts with its weights, and no parameter ever trains."""
    if not arm.backbone.weights.startswith(weight_files.RUN) or any(value is not True for value in arm.freeze.values()):
        return False
    names = maps.names_only(backbone.stages, expansion.freeze_map(arm), {}, aux_heads=backbone.aux_heads)
    divided = maps.divide(names, tuple(backbone.stages), expansion.freeze_map(arm), {}, epochs=1)
    return all(owned.trains_from is None for owned in divided.parameters)


def backbone_problems(arm: Arm, backbone: Backbone, *, steps: bool, domain: bool = False) -> Iterator[TlkitError]:
    """Yield the problems of the two maps and of the image size that can be found without building the network.

    Args:
        arm: The arm.
        backbone: Its plugin.
        steps: It is trained by steps.
        domain: Its method of adaptation has a domain head.
    """
    for place, size in _given_sizes(arm):
        yield from _size_problems(arm, backbone, place, size)
    if arm.data.image_sizes is not None:
        yield from _sizes_problems(arm, backbone, steps=steps)
    yield from _shrink_problems(arm, backbone)
    if not steps:
        return
    freeze, rates = expansion.freeze_map(arm), expansion.rate_map(arm)
    names = maps.names_only(backbone.stages, freeze, rates, aux_heads=backbone.aux_heads, domain=domain)
    stages = tuple(backbone.stages)
    divided = maps.divide(names, stages, freeze, rates, epochs=arm.schedule.epochs, aux_depths=backbone.aux_depths)
    yield from maps.problems(divided, stages=stages, freeze=freeze, rates=rates, backbone=arm.backbone.name, tensors=False)


def height_and_width(value: int | list[int]) -> Size:
    """Return height and width of data.image_size, which is a number or a pair."""
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def sizes(arm: Arm, usual: int) -> tuple[tuple[int, Size], ...]:
    """Return the sizes of an arm's training images, each with the number of epochs after which it begins.

    Args:
        arm: Its tables.
        usual: Side of the images that its backbone takes where the arm names no size.
    """
    if arm.data.crop_size is not None:
        return ((0, height_and_width(arm.data.crop_size)),)
    if arm.data.image_sizes is None:
        return ((0, height_and_width(arm.data.image_size or usual)),)
    begins = itertools.accumulate((each.epochs for each in arm.data.image_sizes[:-1]), initial=0)
    return tuple((begin, height_and_width(each.size)) for begin, each in zip(begins, arm.data.image_sizes, strict=True))


def fold_problems(arm: Arm) -> Iterator[TlkitError]:
    """Yield the keys that a recipe with [cross_validation] may not have."""
    if arm.data.split.fractions is not None:
        yield TlkitError(
            "data.split.fractions: chooses test images, and so does cross_validation.",
            "leave fractions out; data.split.validation = 0.1 is the part of the other folds that is held out",
        )


def unused_of_data(arm: Arm) -> Iterator[str]:
    """Yield a line for each key of [data] that has no effect beside the others."""
    data = arm.data
    if data.crop is not None and data.fit != "crop":
        yield f'data.crop: data.fit = "{data.fit}" does not crop'
    if data.channels is not None and data.options.get("range") is not None:
        yield "data.options.range: with data.channels values are taken as they are in the files"
    if data.crop == 1 and data.fit == "crop" and augmentations.needs_room(data.augment):
        yield "data.augment: random_crop leaves every picture as it is, since data.crop = 1.0 cuts nothing off"


def _given_sizes(arm: Arm) -> list[tuple[str, int | list[int]]]:
    """Return the sizes of images that an arm names, each with its place in messages."""
    if arm.data.crop_size is not None:
        return [(f"data.crop_size: is {shown(arm.data.crop_size)}", arm.data.crop_size)]
    if arm.data.image_sizes is not None:
        return [(f"data.image_sizes: size {shown(each.size)}", each.size) for each in arm.data.image_sizes]
    return [] if arm.data.image_size is None else [(f"data.image_size: is {shown(arm.data.image_size)}", arm.data.image_size)]


def _sizes_problems(arm: Arm, backbone: Backbone, *, steps: bool) -> Iterator[TlkitError]:
    """Yield the problems of data.image_sizes as a whole."""
    given = arm.data.image_sizes or []
    last, total = shown(given[-1].size), sum(each.epochs for each in given)
    if not steps:
        yield TlkitError(
            "data.image_sizes: says which images each epoch has, and nothing is trained by epochs here.",
            f"data.image_size = {last}",
        )
        return
    if total != arm.schedule.epochs:
        yield TlkitError(
            f"data.image_sizes: has sizes for {units.counted(total, 'epoch')}, and schedule.epochs is {arm.schedule.epochs}.",
            f"schedule.epochs = {total}, or other epochs of the sizes",
        )
    if backbone.flat and len({str(each.size) for each in given}) > 1:
        yield TlkitError(
            "data.image_sizes: the head reads every value of the feature map (head.pooled = false), of which there are as many "
            "only for images of one size.",
            f"head.pooled = true, or data.image_size = {last}",
        )
    least = max((each.minimum_size for each in backbone.aux_heads.values()), default=0)
    smallest = min(min(height_and_width(each.size)) for each in given)
    if arm.head.aux_weight != 0 and smallest < least <= min(height_and_width(given[-1].size)):
        yield TlkitError(
            f"data.image_sizes: the auxiliary classifiers of {arm.backbone.name} need images of at least {least} pixels, and {smallest} is less.",
            "larger images, or head.aux_weight = 0",
        )


def _shrink_problems(arm: Arm, backbone: Backbone) -> Iterator[TlkitError]:
    """Yield the problems of [also.NAME] shrink."""
    smallest = min(sizes(arm, backbone.image_size)[-1][1])
    for name, table in arm.also.items():
        if table.shrink is not None and table.shrink >= smallest:
            yield TlkitError(
                f"{dotted('also', name, 'shrink')}: is {table.shrink}, and images have {smallest} pixels: nothing would be lost.",
                f"less than {smallest}, for instance {max(1, smallest // 2)}",
            )


def _size_problems(arm: Arm, backbone: Backbone, place: str, size: int | list[int]) -> Iterator[TlkitError]:
    """Yield the problems of one size of images."""
    if isinstance(size, list) and any(isinstance(table, Rotate) and table.steps == 90 for table in arm.data.augment):
        yield TlkitError(
            f"data.augment: rotate by 90 degrees would turn images of {size[0]}x{size[1]} pixels into {size[1]}x{size[0]}.",
            "steps = 180, or degrees = 15, or a square data.image_size",
        )
    if backbone.fixed_size and size != backbone.image_size:
        yield TlkitError(
            f"{place}; {arm.backbone.name} takes only squares of {backbone.image_size} pixels.",
            f"data.image_size = {backbone.image_size}, or leave it out",
            'data.fit = "pad" keeps the whole of pictures that are not square' if isinstance(size, list) else "",
        )
    elif min(height_and_width(size)) < backbone.minimum_size:
        yield TlkitError(f"{place}; {arm.backbone.name} needs at least {backbone.minimum_size} pixels.")


def arm_problems(arm: Arm) -> Iterator[TlkitError]:
    """Yield the problems of keys in different tables that contradict each other."""
    for key, value in arm.lr_groups.items():
        if rate(value).momentum is not None and arm.optimizer.name != "sgd":
            yield TlkitError(
                f"{dotted('lr_groups', key, 'momentum')}: {arm.optimizer.name} has no momentum.",
                'leave it out, or optimizer.name = "sgd"',
            )
        if rate(value).momentum == 0 and arm.optimizer.name == "sgd" and arm.optimizer.nesterov:
            yield TlkitError(f"{dotted('lr_groups', key, 'momentum')}: is 0, but optimizer.nesterov = true needs momentum.")
    if arm.early_stopping is not None and arm.data.split.validation == 0:
        yield TlkitError(
            "early_stopping: needs validation images, but data.split.validation is 0.",
            "data.split.validation = 0.1",
        )
    schedule = arm.schedule
    if not isinstance(schedule, OneCycle) and schedule.warmup_epochs >= schedule.epochs and schedule.warmup_epochs > 0:
        yield TlkitError(
            f"schedule.warmup_epochs: is {schedule.warmup_epochs}, but the whole run has {units.counted(schedule.epochs, 'epoch')}.",
            "give it less than schedule.epochs",
        )
