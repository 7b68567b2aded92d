"""Which images of a batch, of an epoch and of an evaluation each process has. Imports no torch.

The rule: the global order decides, and a share depends on nothing but the number of images, of processes, and its own number. No image
is left out or counted twice: where a batch has fewer images than there are processes, the others pass its last image and count it 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """The images of a batch that one process has: from start up to, not including, stop.

    Attributes:
        start: The first.
        stop: After the last.
        counted: How many of them count; 0 for an image that another process counts.
    """

    start: int
    stop: int
    counted: int


@dataclass(frozen=True)
class Whole:
    """What a process must know of the batches of an accumulation group beside its own shares of them.

    Attributes:
        batches: Images of each batch, of all processes together; with [adapt] those of the source.
        counts: Images of each batch that count here.
        labelled: Labelled images of the target beside those of each batch, of all processes together; empty where steps take none.
    """

    batches: tuple[int, ...]
    counts: tuple[int, ...]
    labelled: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        """Images of all batches and processes together."""
        return sum(self.batches)


def share(images: int, rank: int, size: int) -> Share:
    """Return the share of a batch of so many images, at least one, that process `rank` of `size` has."""
    each, more = divmod(images, size)
    start = rank * each + min(rank, more)
    counted = each + (rank < more)
    return Share(start, start + counted, counted) if counted else Share(images - 1, images, 0)


def labelled_share(images: int, rank: int, size: int) -> Share:
    """Return the share of labelled images of a target, which may be none: no image stands in for one that another process counts."""
    found = share(images, rank, size)
    return found if found.counted else Share(images, images, 0)


@dataclass(frozen=True)
class Composition:
    """What a batch consists of, all processes together: parts that follow each other, each of which is shared by itself.

    Attributes:
        images: Of the source, or all images without [adapt].
        labelled: Labelled images of the target.
        unlabelled: Images of the target without labels: none, or as many as of the source.
        views: How often these are there: all in one view, and then all in the next.
    """

    images: int
    labelled: int = 0
    unlabelled: int = 0
    views: int = 1

    @property
    def whole(self) -> int:
        """All images together."""
        return self.images + self.labelled + self.unlabelled * self.views

    def shares(self, rank: int, size: int) -> tuple[Share, ...]:
        """Return what process `rank` of `size` has of each part that there is, by places in the batch."""
        found, before = [], 0
        views = [(self.unlabelled, share)] * self.views
        for count, of in ((self.images, share), (self.labelled, labelled_share), *views):
            if count:
                mine = of(count, rank, size)
                found.append(Share(before + mine.start, before + mine.stop, mine.counted))
            before += count
        return tuple(found)

    def counts(self, size: int) -> tuple[int, ...]:
        """Return how many images count on each of `size` processes."""
        return tuple(sum(each.counted for each in self.shares(rank, size)) for rank in range(size))


def whole(batches: Sequence[int], rank: int, size: int, labelled: Sequence[int] = ()) -> Whole:
    """Return what process `rank` of `size` must know of batches of so many images, and of labelled ones of a target beside them."""
    return Whole(tuple(batches), tuple(share(images, rank, size).counted for images in batches), tuple(labelled))


def of_epoch(order: Indices, batch: int, rank: int, size: int, *, of: Callable[[int, int, int], Share] = share) -> Indices:
    """Return the images of an epoch that a process has: its shares of the batches, one after the other.

    All but the last have as many images as its share of a full batch, and the last has no more.

    Args:
        order: The images, of all processes together.
        batch: Images of a batch, of all processes together.
        rank: The number of the process.
        size: How many processes there are.
        of: What a process has of a batch: `share` or `labelled_share`.
    """
    parts = []
    for images in _batches(order, batch):
        mine = of(len(images), rank, size)
        parts.append(images[mine.start : mine.stop])
    return np.concatenate(parts) if parts else order


def of_evaluation(indices: Indices, batch: int, rank: int, size: int) -> tuple[Indices, int]:
    """Return the images that a process evaluates, and how many of them count.

    They are whole batches, the same as those of one process, so that each image has the same bits; those of the first process come first.
    A process that has none passes the first batch and counts no image of it.
    """
    count = -(-len(indices) // batch)
    each, more = divmod(count, size)
    first = rank * each + min(rank, more)
    mine = indices[first * batch : (first + each + (rank < more)) * batch]
    return (mine, len(mine)) if len(mine) else (indices[:batch], 0)


def of_work(indices: Indices, rank: int, size: int) -> Indices:
    """Return the images for which a process does work that is done once: every so manieth, since neighbours take as long."""
    return indices[rank::size]


def _batches(order: Indices, batch: int) -> Iterator[Indices]:
    for start in range(0, len(order), batch):
        yield order[start : start + batch]
