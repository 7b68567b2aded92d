"""Choose which images of another data set are tested, and which [adapt] uses, without labels and with. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from tlkit import file_digests, tasks
from tlkit.errors import DataError, first_few
from tlkit.plans.adaptation import Adaptation
from tlkit.plans.dataset_parts import Selected
from tlkit.plans.resolved import Resolved
from tlkit.plugin import ImageFile, Images, members
from tlkit.plugin.members import Subset
from tlkit.recipe.messages import dotted
from tlkit.record.selection import WITHOUT_LABELS
from tlkit.sources import target_split
from tlkit.sources.splits import Indices

SCORED = 1000  # images of the target that scores without labels are computed from: enough for two digits, and soon done
# What `refuse_same` found, with paths alone and with contents, as long as both data sets are in memory: they are read again where a file changes.
_COMPARED: WeakKeyDictionary[Images, WeakKeyDictionary[Images, dict[bool, tuple[int, int]]]] = WeakKeyDictionary()
NEARLY_ALL = 0.9  # of the target's images: no two domains have so many in common
ALL = "all"  # the split of a data set whose images are divided anew; its own test images are the last


@dataclass(frozen=True)
class OtherParts:
    """Images of another data set, with the labels of the classes that are trained on.

    Attributes:
        images: The data set.
        test: That are evaluated.
        target: That [adapt] uses or scores, the labelled ones among them; None where it uses none.
        labelled: Of these, positions in the split of those whose labels are used, ascending.
        scores_alone: The images without labels are for scores that need none; nothing is learned from them.
    """

    images: Images
    test: Selected
    target: Selected | None = None
    labelled: Indices | None = None
    scores_alone: bool = False

    @property
    def tested_files(self) -> Subset:
        """Files of the images that are evaluated; none of arrays."""
        return _files(self.images, self.test)

    @property
    def learned_from(self) -> Selected | None:
        """Images of the target that may not be among those that are tested: all but transductive ones."""
        if self.target is None or self.labelled is None:
            return None
        if not self.scores_alone and not len(np.intersect1d(self.target.indices, self.test.indices)):
            return self.target
        return Selected(self.target.split, self.labelled) if len(self.labelled) else None

    @property
    def learned_files(self) -> Subset | None:
        """Files of `learned_from`; None where there are no such images."""
        return _files(self.images, self.learned_from) if self.learned_from is not None else None


def divides(resolved: Resolved, name: str) -> bool:
    """Return whether an arm divides all images of a data set of [also] anew, or uses others of it than its test images."""
    return resolved.arm.also[name].split.per_class is not None or _adapts_to(resolved, name) is not None


def choose(resolved: Resolved, name: str, images: Images, *, seed: int) -> OtherParts:
    """Choose the images of one data set of [also].

    Args:
        resolved: The arm.
        name: The table's in [also].
        images: As `dataset_images.other_images` returns them.
        seed: The run's seed.

    Raises:
        DataError: a class has fewer images than are asked for; or none is left to test.
    """
    if not divides(resolved, name):
        return OtherParts(images, Selected("test", np.arange(len(images.splits["test"].targets))))
    split, place = images.splits[ALL], dotted("also", name, "split", "per_class")
    labels, classes = tasks.get(resolved.head.task).targets.strata(split.targets, images.classes)
    per_class, every = resolved.arm.also[name].split.per_class, np.arange(len(labels))
    if per_class is None:
        train = every[: len(every) - len(images.splits["test"].targets)]  # test images are the last
    elif split.groups is not None:
        raise DataError(
            f"{place}: the images of {name} belong to groups, which a draw of single images would part.", "leave it out"
        )
    else:
        train = target_split.first_of_each(labels, classes, per_class, seed=seed, where=place)
    parts = OtherParts(images, Selected(ALL, np.setdiff1d(every, train)))
    if not len(parts.test.indices):
        raise DataError(f"{place}: is {per_class}, and no image is left to test.", "fewer of each class")
    adapt = _adapts_to(resolved, name)
    if adapt is None:
        return parts
    labelled, wanted = train[:0], adapt.table.labels_per_class
    if wanted:
        labelled = train[target_split.first_of_each(labels[train], classes, wanted, seed=seed, where="adapt.labels_per_class")]
    used = labelled if not adapt.uses_unlabelled else train if adapt.table.images == "train" else every
    alone = resolved.learns == "steps" and not adapt.uses_unlabelled
    if alone:
        used = np.union1d(labelled, evenly(np.setdiff1d(train, labelled)))
    if resolved.arm.select_by in WITHOUT_LABELS and len(used) == len(labelled):
        raise DataError(
            f"select_by: {resolved.arm.select_by} is of images of {name} whose labels are not trained on, and its training part has no such.",
            f"fewer adapt.labels_per_class, or a larger {place}" if per_class is not None else f"{place} = 20, for instance",
        )
    return replace(parts, target=Selected(ALL, used), labelled=labelled, scores_alone=alone) if len(used) else parts


def evenly(positions: Indices) -> Indices:
    """Return the images of the target that scores without labels are computed from, at even distances, of those at these positions."""
    places: Indices = (
        positions[np.unique(np.linspace(0, len(positions) - 1, SCORED).round().astype(np.int64))]
        if len(positions)
        else positions
    )
    return places


def refuse_same(resolved: Resolved, name: str, source: Images, other: OtherParts, *, read: bool) -> None:
    """Refuse a target nearly all of whose images are the source's, or copies of these: it is no other domain.

    A few that both have are an overlap, which is told, left out or refused as data.on_overlap says. With `shrink` the same images
    are another domain: their low resolution.

    Args:
        resolved: The arm.
        name: The table's in [also].
        source: The images of [data].
        other: Those of the target.
        read: Compare the bytes of files; else their paths.

    Raises:
        DataError: the target has hardly an image of its own.
    """
    if _adapts_to(resolved, name) is None or resolved.arm.also[name].shrink is not None:
        return
    own, given = resolved.arm.data, resolved.also[name]
    if any(len(split.files) for images in (source, other.images) for split in images.splits.values()):
        known = _COMPARED.setdefault(source, WeakKeyDictionary()).setdefault(other.images, {})
        if read not in known:  # else another run asked
            known[read] = copies(source, other.images, read=read)
        same, of = known[read]
    else:  # images that are made, not read
        same, of = int((given.name, given.options) == (own.name, resolved.data_options)), 1
    if same == of > 0:
        raise DataError(f"adapt.target: {name} has the same images as the source.", "a data set of another domain")
    if same > NEARLY_ALL * of:
        raise DataError(
            f"adapt.target: {same:,} of {of:,} images of {name} are the source's.", "a data set of another domain",
            "or the images that are not copies, in a folder of their own",
        )  # fmt: skip


def copies(source: Images, target: Images, *, read: bool) -> tuple[int, int]:
    """Return how many files of a target are the source's, by path, or if `read` by content, and how many it has.

    Contents are read only where nearly all may be the same.
    """
    mine, theirs = _every_file(source), _every_file(target)
    paths = set(_real_paths(mine))
    same = sum(path in paths for path in _real_paths(theirs))
    if read and same < len(theirs) and np.isin(members.sizes(theirs), members.sizes(mine)).mean() > NEARLY_ALL:
        contents = set(members.digests(mine))
        same = sum(each in contents for each in members.digests(theirs))
    return same, len(theirs)


def warnings(resolved: Resolved, also: Mapping[str, OtherParts]) -> tuple[str, ...]:
    """Say which classes the target lacks, where the method takes it for granted that both domains have the same."""
    lines = []
    for name, other in also.items():
        adapt = _adapts_to(resolved, name)
        if adapt is None or adapt.adapter is None or adapt.adapter.partial:
            continue
        counts = np.bincount(other.images.splits[ALL].targets, minlength=len(other.images.classes))
        absent = [each for each, images in zip(other.images.classes, counts.tolist(), strict=True) if not images]
        if absent:
            lines.append(
                f"adapt.target: {name} has no image of {first_few(absent)}, and {adapt.table.method} takes it that both domains have the "
                "same classes: it may do harm"
            )
    return tuple(lines)


def _adapts_to(resolved: Resolved, name: str) -> Adaptation | None:
    """Return the adaptation of an arm that adapts to a data set; else None."""
    found = resolved.adaptation
    return found if found is not None and found.table.target == name else None


def _real_paths(files: Iterable[ImageFile]) -> Iterator[bytes]:
    """Yield the path of each file without symbolic links; each folder is looked up once."""
    folders = dict[str, str]()
    for file in files:
        try:
            yield file_digests.place(os.fspath(file), folders)[0]
        except OSError:  # inside a larger file, or gone
            yield os.fsencode(os.path.realpath(file))


def _every_file(images: Images) -> list[ImageFile]:
    """Return the files of a data set, each once."""
    return list({os.fspath(file): file for split in images.splits.values() for file in split.files}.values())


def _files(images: Images, part: Selected) -> Subset:
    return Subset(images.splits[part.split].files, part.indices)
