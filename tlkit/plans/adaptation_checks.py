"""Check [adapt] against the rest of its arm. Imports no torch.

The rule: what contradicts the arm is an error; what would do nothing there is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tlkit.errors import TlkitError, nearest
from tlkit.plans import auto_rates
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.plan import ImagesPlan
from tlkit.plugin import Head
from tlkit.recipe import augmentations, maps
from tlkit.recipe.augmentations import Augmentation
from tlkit.recipe.domains import NONE, AdaptTable
from tlkit.recipe.losses import LossTable
from tlkit.recipe.maps import HEAD
from tlkit.recipe.messages import dotted, shown
from tlkit.recipe.recipe import Arm
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.sources import weight_files
from tlkit.tasks.single_label import SINGLE_LABEL


def problems(arm: Arm, table: AdaptTable) -> Iterator[TlkitError]:
    """Yield what is wrong with the table whatever its method is."""
    if table.target not in arm.also:
        there = f"[also]: {', '.join(arm.also)}" if arm.also else f"a table names it: [{dotted('also', table.target)}]"
        yield TlkitError(
            f"adapt.target: there is no data set {dotted('also', table.target)}.", there, nearest(table.target, arm.also)
        )
    elif arm.also[table.target].of_own_images:
        yield TlkitError(
            f"adapt.target: {table.target} is the test images of [data] in low resolution.",
            f"{dotted('also', table.target)}.name, a data set",
        )
    elif (part := arm.also[table.target].split.per_class) is not None and table.labels_per_class > part:
        yield TlkitError(
            f"adapt.labels_per_class: is {table.labels_per_class}, and the training part of {table.target} has {part} images of each class.",
            f"{dotted('also', table.target)}.split.per_class = {table.labels_per_class}, or fewer labels",
        )
    if not table.source and not table.labels_per_class:
        yield TlkitError(
            "adapt.source: is false, and no target image has a label, so there is nothing to train on.",
            "adapt.labels_per_class = 3",
        )
    if not table.source and table.method != NONE:
        yield TlkitError(
            f"adapt.source: is false, and {table.method} adapts source images to the target.", f'adapt.method = "{NONE}"'
        )


def conflicts(arm: Arm, found: Adaptation, head: Head, *, solved: bool) -> Iterator[TlkitError]:
    """Yield what the method cannot do in this arm.

    Args:
        arm: Its tables.
        found: The method.
        head: The head plugin.
        solved: The head is solved, not trained by steps.
    """
    table, adapter = found.table, found.adapter
    if head.task != SINGLE_LABEL.name:
        yield TlkitError(
            f"adapt: needs one class for each image, and the {arm.head.kind} head has another task.", "leave [adapt] out"
        )
    elif head.several:
        yield TlkitError(
            f"adapt: works on the features of the last stage, and the {arm.head.kind} head reads the maps of several.",
            'a head of features, for instance head.kind = "linear"',
        )
    if solved:
        if adapter is not None and adapter.loss:
            yield TlkitError(
                f"adapt.method: {table.method} is trained by steps, and the {arm.head.kind} head is solved.",
                'a head that is trained, for instance head.kind = "linear"',
            )
        return
    if adapter is not None and adapter.solve:
        yield TlkitError(
            f"adapt.method: {table.method} aligns the features of a frozen network once, and the {arm.head.kind} head is trained by steps.",
            'a head that is solved, for instance head.kind = "logistic"',
        )
    wanted = {"source": (table.source, True), "pseudo_labels": (table.pseudo_labels, False)}
    for key, (value, usual) in wanted.items():
        if value != usual:
            yield TlkitError(
                f"adapt.{key}: is {shown(value)}, which only a solved head uses yet, and the {arm.head.kind} head is trained by steps.",
                'head.kind = "logistic", for instance',
            )
    if adapter is not None and adapter.second_view and not table.second_view:
        yield TlkitError(
            f"adapt.method: {table.method} compares two views of a target image, and there is one.",
            'adapt.second_view = ["randaugment"]',
        )
    yield from of_second_view(arm, table.second_view, place="adapt.second_view")
    if found.source_free:
        yield from _source_free_problems(arm, table)
    elif adapter is not None and adapter.compares and augmentations.mixes(arm.data.augment):
        yield TlkitError(
            f"adapt.method: {table.method} compares images of both domains, and data.augment mixes those of the source alone: "
            "it would learn which images are mixed.",
            "leave mixup and cutmix out, or a method that does not compare them: mcc, mme",
        )
    if adapter is not None and adapter.compares and not adapter.domain_head and arm.data.batch_size == 1:
        yield TlkitError(
            f"adapt.method: {table.method} compares a batch of each domain, and data.batch_size is 1.", "2 or more"
        )
    if adapter is not None and adapter.domain_head and auto_rates.is_auto(arm, maps.DOMAIN):
        yield TlkitError(
            f'{auto_rates.named(maps.DOMAIN)}: is "auto", and a range test takes steps of the source alone, in which no domain head trains.',
            "a rate of your own, or leave it out: it is that of head",
        )
    if adapter is not None and adapter.loss and head.maps:
        yield TlkitError(
            f"adapt.method: {table.method} reads features (N, F), and the {arm.head.kind} head reads a whole feature map.",
            'head.kind = "linear"',
        )


def of_second_view(arm: Arm, second: Sequence[Augmentation], *, place: str) -> Iterator[TlkitError]:
    """Yield what a second view of images without labels has that it cannot have beside data.augment.

    Args:
        arm: The arm.
        second: The augmentations of the second view.
        place: The key that names them.
    """
    if (name := augmentations.twice(arm.data.augment, second)) is not None:
        yield TlkitError(
            f"{place}: has {name}, which data.augment has too.", "both views are augmented by data.augment; leave it out"
        )
    if arm.data.channels is not None and (colours := augmentations.of_colour(second)):
        yield TlkitError(
            f"{place}: {colours[0]} is of colours, and data.channels says {arm.data.channels} bands.",
            f"augmentations of bands: {', '.join(augmentations.not_of_colour())}",
        )


def _source_free_problems(arm: Arm, table: AdaptTable) -> Iterator[TlkitError]:
    """Yield what an arm has that a method without source images cannot use, or lacks."""
    what = f"adapt.method: {table.method}"
    if not arm.backbone.weights.startswith(weight_files.RUN):
        yield TlkitError(
            f"{what} adapts what a run learned from the source, and backbone.weights is {shown(arm.backbone.weights)}.",
            'backbone.weights = "run:RUNS/RECIPE/ARM-sSEED-DIGEST"',
        )
    if arm.freeze.get(HEAD) is not True:
        yield TlkitError(
            f"{what} leaves the classifier as the source's images made it, and head trains.", f"freeze.{HEAD} = true"
        )
    if table.labels_per_class:
        yield TlkitError(
            f"{what} uses no labels, and adapt.labels_per_class is {table.labels_per_class}.", "labels_per_class = 0"
        )
    if augmentations.mixes(arm.data.augment):
        yield TlkitError(
            f"{what} gives each image a pseudo-label, and data.augment mixes images.", "leave mixup and cutmix out"
        )
    if arm.loss != LossTable():
        yield TlkitError(f"{what} has the whole loss of a step, and [loss] is of labelled images.", "leave [loss] out")
    if open_ := [key for key in arm.lr_groups if auto_rates.is_auto(arm, key)]:
        yield TlkitError(
            f'{auto_rates.named(open_[0])}: is "auto", and a range test takes steps of the source, which {table.method} does not train on.',
            "a rate of your own",
        )


def of_no_use(found: Adaptation | None, trained: Collection[str], arm: Arm) -> list[str]:
    """Say that a method cannot do its work where these stages of the backbone train, if so.

    Args:
        found: What the arm adapts to, and how.
        trained: The stages of the backbone that are trained at some time.
        arm: The arm.
    """
    if found is None or found.adapter is None:
        return []
    name = found.table.method
    if found.adapter.moves_features and not trained:
        return [
            f"adapt.method: {name} works by training what the head reads, and the whole backbone is frozen: it does nothing, or harm"
        ]
    if found.adapter.batch_norm and trained and arm.backbone.batch_norm != "running":
        return [
            f"adapt.method: {name} replaces statistics before the first step, and BatchNorm of trained stages ({', '.join(trained)}) soon "
            'has those of the source again; backbone.batch_norm = "running" keeps them'
        ]
    return []


def chosen_by_source(found: Adaptation | None, arm: Arm, images: ImagesPlan) -> list[str]:
    """Say that images of the source choose the best epoch of a method that moves away from the source, if so."""
    if found is None or not found.source_free or not images.validation or arm.select_by in WITHOUT_LABELS:
        return []
    return [
        f"select_by: validation images of the source choose the best epoch, and {found.table.method} leaves the source behind; "
        'select_by = "snd" chooses by the target without its labels'
    ]
