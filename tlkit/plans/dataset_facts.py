"""Count a data set's classes, and its images of each part and class; find files that parts share. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from tlkit import tasks, units
from tlkit.errors import DataError, DataMissing, first_few, option
from tlkit.plans import dataset_images, file_looks, job_inputs, looked_up, other_parts, overlap, target_copies, unlabelled
from tlkit.plans.dataset_parts import Selected, select, split_train
from tlkit.plans.other_parts import OtherParts
from tlkit.plans.overlap import Overlap
from tlkit.plans.plan import Choice, ImagesPlan
from tlkit.plans.resolved import Resolved
from tlkit.plugin import DataFiles, Dataset, ImageFile, Images, Split
from tlkit.plugin.members import Subset
from tlkit.recipe import augmentations
from tlkit.recipe.recipe import Arm
from tlkit.sources import class_names, image_files, mask_counts
from tlkit.sources.places import Places
from tlkit.sources.splits import Chosen
from tlkit.tasks.task import Rows
from tlkit.units import Size

# Bytes of files that a plan reads to compare them, about a second; a run compares all, and remembers their digests.
_READ = 1e9


@dataclass(frozen=True)
class DataFacts:
    """What the planner must know of the images.

    Attributes:
        classes: How many.
        images: Of each split, after [data.split].
        names: Of the classes; () where they are not known yet.
        per_class: Training images of each, after [data.split]; () likewise.
        warnings: What a person should think twice about, in words: classes without a held-out image or of nearly the same name, files
            that are not used or cannot be read.
        choices: What was decided about the images.
        originals: Height and width that most training images do not exceed; None where that is not known, or does not matter.
        pixels: Of each class in the training masks, where balanced class weights are made from them; else ().
    """

    classes: int
    images: ImagesPlan
    names: tuple[str, ...] = ()
    per_class: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    originals: Size | None = None
    pixels: tuple[int, ...] = ()


def known(
    resolved: Resolved,
    places: Places,
    *,
    seed: int,
    classes: int | None,
    fold: int | None = None,
    sizes: file_looks.Sizes | None = None,
) -> DataFacts:
    """Count what can be counted, without a download.

    Args:
        resolved: The arm.
        places: Where to look.
        seed: Of the split.
        classes: Assumed where there is nothing to count.
        fold: The fold that is tested, from 1; None without cross-validation.
        sizes: Of pictures that are put on a canvas; None: crops of them are not looked at.

    Raises:
        DataMissing: there are no images, no official counts, and no assumption.
    """
    dataset = resolved.dataset
    try:
        found = job_inputs.known_data(resolved, places)
    except DataMissing as error:
        assumed = classes or dataset.classes
        if assumed is None:
            raise DataMissing(
                error.problem, *error.hints, f"to plan without images, say how many classes: {option('classes')}"
            ) from error
        return _nominal(resolved, dataset, seed, assumed, fold)
    mine = dataset_images.images(resolved, found)
    also: dict[str, OtherParts] = {}
    unread: list[str] = []
    for name, source in resolved.also.items():
        with suppress(DataMissing):
            there = job_inputs.known_beside(resolved, f"also.{name}", source, places)
            also[name] = other_parts.choose(
                resolved, name, dataset_images.other_images(resolved, name, there, mine.classes), seed=seed
            )
            unread += target_copies.refuse(resolved, name, mine, also[name].images, at_most=_READ)
    table = resolved.arm.data
    problem = file_looks.unreadable(resolved, mine)
    of_masks = file_looks.unusable_masks(resolved, mine)
    parts = select(resolved, mine, seed=seed, fold=fold)
    if resolved.source_free:
        del parts["train"]
    tested = {name: len(each.test.indices) for name, each in also.items()}
    tested |= {name: len(parts["test"].indices) for name in low_resolution(resolved.arm, parts)}
    more = _unlabelled(resolved, places)
    targets = [len(each.target.indices) for each in also.values() if each.target is not None]
    targets += [] if more is None else [len(more.splits[other_parts.ALL].targets)]
    labelled = [len(each.labelled) for each in also.values() if each.labelled is not None]
    counted = count(
        resolved, mine, parts, also=tested, found=found, fold=fold, target=sum(targets), labelled=sum(labelled)
    )  # fmt: skip
    can = overlap.droppable(parts["validation"].split if "validation" in parts else None)
    same = overlap.planned(_overlaps(mine, parts, also, more), droppable=can, on_overlap=table.on_overlap)
    sized = _usual_size(mine, table.channels) if augmentations.windows(table.augment) else None
    more_looks = [problem, of_masks, file_looks.small_pictures(resolved, mine, parts, sizes)]
    warned = (*counted.warnings, *other_parts.warnings(resolved, also), *unread, *same, *filter(None, more_looks))
    return replace(counted, warnings=warned, originals=sized)


def _overlaps(
    images: Images, parts: Mapping[str, Selected], also: Mapping[str, OtherParts], more: Images | None
) -> tuple[Overlap, ...]:
    """Return `file_overlaps` as far as a plan reads files."""
    others = [
        (name, *looked_up.named(other.images, other.test), *looked_up.named(other.images, other.learned_from))
        for name, other in also.items()
    ]
    question = ("overlaps", looked_up.all_named(images, parts), *others, None if more is None else looked_up.named(more, None))
    return looked_up.once_of_digests(images, question, lambda: file_overlaps(images, parts, also, more, at_most=_READ))


def _usual_size(images: Images, bands: int | None) -> Size | None:
    return looked_up.once(images, ("usual size", bands), lambda: usual_size(images.splits["train"], bands))


def usual_size(split: Split, bands: int | None = None) -> Size | None:
    """Return the height and width that a split's images have, or most of them do not exceed; None where none can be read.

    Args:
        split: The images.
        bands: How many bands they have; None of colour pictures.
    """
    if split.pixels is not None:
        return image_files.most([picture.shape[:2] for picture in split.pixels])  # in memory each may have its own
    return image_files.usual_size(split.files, bands=bands)


def _unlabelled(resolved: Resolved, places: Places) -> Images | None:
    """Return the images of data.unlabelled; None without, and where they are not here."""
    source = resolved.unlabelled
    if source is None:
        return None
    with suppress(DataMissing):
        there = job_inputs.known_beside(resolved, unlabelled.NAME, source, places)
        return dataset_images.unlabelled_images(source, there)
    return None


def file_overlaps(
    images: Images, parts: Mapping[str, Selected], also: Mapping[str, OtherParts], more: Images | None = None, *,
    at_most: float = math.inf,
) -> tuple[Overlap, ...]:  # fmt: skip
    """Return where a part's files are identical to those of another part.

    Args:
        images: The data set.
        parts: Which of the images each part has.
        also: Images of other data sets that are evaluated.
        more: Images without labels that are trained on; None for none.
        at_most: Bytes that are read, as for `overlap.of_files`.
    """
    listed: dict[str, Sequence[ImageFile]] = {
        name: Subset(images.splits[part.split].files, part.indices)
        for name, part in parts.items()
        if images.splits[part.split].files
    }
    for name, other in also.items():
        listed |= {f"also.{name}": other.tested_files} if other.tested_files else {}
        listed |= {overlap.TARGET: other.learned_files} if other.learned_files else {}
    if more is not None and more.splits[other_parts.ALL].files:
        listed[overlap.UNLABELLED] = more.splits[other_parts.ALL].files
    with suppress(DataError):  # of a file that cannot be read, which decoding names
        return overlap.find(overlap.of_files(listed, at_most=at_most))
    return ()


def count(
    resolved: Resolved, images: Images, parts: Mapping[str, Selected], *,
    also: Mapping[str, int], found: DataFiles, fold: int | None = None, target: int = 0, labelled: int = 0,
) -> DataFacts:  # fmt: skip
    """Count the images of every part, and those of every class that are trained on.

    Args:
        resolved: The arm.
        images: The data set.
        parts: Which of the images each part has, as `select` returns it or without those that cannot be decoded.
        also: Number of images of each other data set that is evaluated.
        found: The data set's files.
        fold: The fold that is tested, from 1; None without cross-validation.
        target: Number of images of the target that [adapt] uses, or of images without labels.
        labelled: Of these, number of images whose labels it uses.

    Where no image of the data set is trained on, `parts` has no "train": the training images are those of the target.
    """
    kind, classes = tasks.get(resolved.head.task).targets, images.classes
    targets = {name: images.splits[part.split].targets[part.indices] for name, part in parts.items()}
    sizes = {name: len(targets.get(name, ())) for name in ("train", "validation", "test")}
    if resolved.adaptation is not None and not resolved.adaptation.table.source:
        sizes["train"] = 0  # nothing is learned from the source
    return DataFacts(
        len(classes),
        ImagesPlan(
            **sizes | ({} if "train" in parts else {"train": target}),
            source="counted",
            also=also,
            target=target,
            labelled=labelled,
        ),
        classes,
        kind.count(targets["train"], len(classes)) if "train" in parts else (),
        (
            *_missing_classes(resolved, images, targets),
            *class_names.alike(classes),
            *said(found, images, parts),
            *images.remarks,
        ),
        _fold_choice(resolved, fold, own_test=len(images.splits["test"].targets) if "test" in images.splits else 0),
        pixels=_pixels(resolved, targets["train"], len(classes)) if "train" in parts else (),
    )


def _pixels(resolved: Resolved, targets: Rows, classes: int) -> tuple[int, ...]:
    """Return the pixels of each class in training masks, where the recipe weighs classes by them."""
    arm = resolved.arm
    if arm.loss.class_weights != "balanced" or not tasks.get(resolved.head.task).targets.masks:
        return ()
    return mask_counts.pixels(list(targets), classes=classes, ignore=arm.data.ignore)


def _fold_choice(resolved: Resolved, fold: int | None, *, own_test: int) -> tuple[Choice, ...]:
    """Say which images a cross-validation tests, and that it does not use the data set's own test images."""
    if fold is None:
        return ()
    own = f"; the data set's own test images ({own_test:,}) are not used" if own_test else ""
    return (Choice("test images", f"fold {fold} of {resolved.folds}", f"cross_validation{own}"),)


def low_resolution(arm: Arm, parts: Collection[str]) -> list[str]:
    """Return the names in [also] under which an arm's own test images are evaluated in low resolution.

    Args:
        arm: The arm.
        parts: Names of the parts that have images.

    Raises:
        DataError: there are such names, and no test images.
    """
    names = [name for name, table in arm.also.items() if table.of_own_images]
    if names and "test" not in parts:
        raise DataError(f"also.{names[0]}: shrink is for test images, and there are none.", f"also.{names[0]}.name, a data set")
    return names


def _nominal(resolved: Resolved, dataset: Dataset, seed: int, classes: int, fold: int | None) -> DataFacts:
    sizes = dict(dataset.nominal_images(resolved.data_options))
    if not sizes:
        return DataFacts(classes, ImagesPlan(0, 0, 0, "unknown"))
    if resolved.arm.data.split.fractions is not None:
        sizes = {"train": sum(sizes.values())}
    even = np.arange(sizes["train"]) % classes, tuple(map(str, range(classes)))
    counts = _nominal_counts(sizes, split_train(resolved, *even, sizes=sizes, seed=seed, fold=fold))
    counts = replace(counts, train=0) if resolved.source_free else counts
    return DataFacts(classes, counts, choices=_fold_choice(resolved, fold, own_test=sizes.get("test", 0)))


def said(found: DataFiles, images: Images, parts: Mapping[str, Selected]) -> tuple[str, ...]:
    """Return `unused`, and what the plugin says of splits where one is drawn."""
    drawn = images.test_held_out or any(part.split != name for name, part in parts.items())
    return (*unused(found), *(found.on_splits if drawn else ()))


def unused(found: DataFiles) -> tuple[str, ...]:
    """Say which image files lie beside the classes and are not used, and what else the data set's plugin found."""
    if not found.unused:
        return found.remarks
    names, one = first_few(map(str, found.unused)), len(found.unused) == 1
    lies = "lies beside the class folders and is" if one else "lie beside the class folders and are"
    return (f"{units.images(len(found.unused))} {lies} not used: {names}", *found.remarks)


def _nominal_counts(sizes: Mapping[str, int], chosen: Chosen) -> ImagesPlan:
    """Return the number of images of each part after [data.split], from the official sizes before it."""
    validation = sizes.get("validation", len(chosen.validation))
    test = sizes.get("test", 0) if chosen.test is None else len(chosen.test)
    return ImagesPlan(len(chosen.train), validation, test, "nominal")


def _missing_classes(resolved: Resolved, images: Images, targets: Mapping[str, Rows]) -> tuple[str, ...]:
    """Say which classes have no validation or test image, so that a metric of every class leaves them out."""
    kind, lines = tasks.get(resolved.head.task).targets, []
    for part in ("validation", "test"):
        if part not in targets or not len(targets[part]):
            continue
        strata, names = kind.strata(targets[part], images.classes)
        missing = np.setdiff1d(np.arange(len(names)), strata).tolist()
        if missing:
            shown = first_few(names[stratum] for stratum in missing)
            lines.append(f"{part}: there is no image of {shown}; metrics of these classes are not defined")
    return tuple(lines)
