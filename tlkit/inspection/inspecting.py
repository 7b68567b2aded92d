"""Inspect the images of a run: compare them by content and by embeddings, and say what was found.

The rule: what cannot be looked for is said in a note, never left out in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tlkit import units
from tlkit.errors import first_few
from tlkit.inspection import duplicates, labels, neighbours, outliers
from tlkit.inspection.duplicates import Edges
from tlkit.inspection.inspected import Inspected
from tlkit.plans.plan import Plan
from tlkit.record.findings import (
    LISTED,
    Across,
    DoubtfulLabel,
    Findings,
    Image,
    Kind,
    Outlier,
    Pair,
    Sizes,
    Thumbnails,
)

_NEIGHBOURS = 10
_MOST = 50_000  # images that are compared with all others: a minute of one core
_PICTURED = 12  # findings of each kind that have thumbnails


@dataclass
class _Compared:
    """What comparing the images found, by row."""

    group: NDArray[np.int64]
    near: Edges = field(default_factory=list)
    doubtful: Sequence[tuple[int, int, float, float]] = ()
    unlike: Sequence[tuple[int, float]] = ()
    totals: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def inspect(
    images: Inspected, found: Findings, embeddings: Mapping[str, NDArray[np.float32]] | None
) -> tuple[Findings, Thumbnails]:
    """Return what was found, added to what is known already, and the thumbnails that it names.

    Args:
        images: The images.
        found: What is known: the data set, its parts and classes, files that are left out, notes.
        embeddings: (n, features) of each part; None where nothing embeds the images.
    """
    group = duplicates.groups([images.digests, images.keys])
    exact: Edges = [(first, second, 1.0) for first, second in duplicates.exact(group)]
    compared = _Compared(group, totals={"exact": len(exact)}, notes=list(found.notes))
    embedded = found.embedded
    if embeddings is not None:
        rows = np.concatenate([embeddings[name] for name in images.parts])
        if why := _unusable(images, rows):
            compared.notes.append(why)
            embedded = ""
        else:
            _compare(images, rows, compared)
    edges: tuple[tuple[Kind, Edges], ...] = (("exact", exact), ("near", compared.near))
    pairs = [(kind, _across_first(images, some)[:LISTED]) for kind, some in edges]
    doubtful, unlike = compared.doubtful[:LISTED], compared.unlike[:LISTED]
    pictured = [row for _, some in pairs for edge in some[:_PICTURED] for row in edge[:2]]
    pictured += [row for row, *_ in doubtful[:_PICTURED]] + [row for row, _ in unlike[:_PICTURED]]
    places = {row: place for place, row in enumerate(dict.fromkeys(pictured))}

    def image(row: int) -> Image:
        return replace(images.image(row), picture=places.get(row, -1))

    return replace(
        found,
        sizes=_sizes(images),
        embedded=embedded,
        across=_across(images, compared),
        pairs=[Pair(image(first), image(second), kind, likeness) for kind, some in pairs for first, second, likeness in some],
        labels=[DoubtfulLabel(image(row), images.classes[guess], own, other) for row, guess, own, other in doubtful],
        outliers=[Outlier(image(row), times) for row, times in unlike],
        totals=compared.totals,
        notes=compared.notes,
    ), images.thumbnails(np.array(list(places), np.int64))


def work(plan: Plan) -> float:
    """Return about how many floating-point operations comparing the images of a plan by their embeddings takes."""
    count, features = plan.images.train + plan.images.held_out, plan.stages[plan.depth - 1].output[0]
    return 2.0 * count * count * features + labels.work(count, features, plan.classes)


def _unusable(images: Inspected, rows: NDArray[np.float32]) -> str:
    """Say why embeddings (n, features) cannot be compared; "" where they can."""
    if not np.isfinite(rows).all():
        return "near duplicates, labels and outliers are not looked for: the embeddings are not finite numbers"
    if len(rows) > _MOST:
        return f"near duplicates, labels and outliers are not looked for: there are more than {units.images(_MOST)}"
    if len(rows) < 2 or not images.comparable:
        return "near duplicates, labels and outliers are not looked for: the pictures of the parts have several sizes"
    return ""


def _compare(images: Inspected, rows: NDArray[np.float32], compared: _Compared) -> None:
    """Compare the images by their embeddings (n, features), and add what that finds."""
    vectors = neighbours.unit(rows)
    nearest, cosines = neighbours.nearest(vectors, min(_NEIGHBOURS, len(rows) - 1))
    compared.near = duplicates.near(nearest, cosines, compared.group, images.pictures)
    compared.totals["near"] = len(compared.near)
    if len(rows) >= outliers.FEWEST:
        compared.unlike = outliers.outliers(cosines)
        compared.totals["outliers"] = len(compared.unlike)
    else:
        compared.notes.append(f"outliers are not looked for among fewer than {units.images(outliers.FEWEST)}")
    classes = images.labels
    if classes is None:
        compared.notes.append("labels that look wrong are not looked for: an image may have several")
    else:
        _judge(images, vectors, classes, compared)


def _judge(images: Inspected, vectors: NDArray[np.float32], classes: NDArray[np.int64], compared: _Compared) -> None:
    """Find the labels that look wrong, and add them."""
    apart, count = _apart(images, compared), len(images.classes)
    can = labels.judged(classes, apart, count)
    few = [name for number, name in enumerate(images.classes) if (classes == number).any() and not can[classes == number].any()]
    if few:
        compared.notes.append(f"labels of {first_few(few)} are not judged: fewer than 5 different images")
    rows = np.flatnonzero(can)
    if len(np.unique(classes[rows])) < 2:
        return
    taken = rows[labels.sample(classes[rows], vectors.shape[1])]
    if len(taken) < len(rows):
        again = labels.judged(classes[taken], apart[taken], count)
        taken = taken[again]
        compared.notes.append(f"labels are judged of {len(taken):,} of {len(rows):,} images, evenly spread")
        if len(np.unique(classes[taken])) < 2:
            return
    probabilities = labels.out_of_fold(vectors[taken], classes[taken], apart[taken], count)
    compared.doubtful = [
        (int(taken[row]), guess, float(probabilities[row, classes[taken[row]]]), float(probabilities[row, guess]))
        for row, guess in labels.doubtful(classes[taken], probabilities, sure=labels.SURE)
    ]
    compared.totals["labels"] = len(compared.doubtful)


def _apart(images: Inspected, compared: _Compared) -> NDArray[np.int64]:
    """Return a number (n,) that images share which no two folds may divide: duplicates, and the data set's own groups."""
    rows = np.arange(len(compared.group))
    numbers = [compared.group]
    if images.groups is not None:
        numbers.append(np.unique(images.groups, return_inverse=True)[1].reshape(-1))
    first, second = (
        [np.array([edge[0] for edge in compared.near], np.int64)],
        [np.array([edge[1] for edge in compared.near], np.int64)],
    )
    for each in numbers:
        _, start, inverse = np.unique(each, return_index=True, return_inverse=True)
        first.append(start[inverse.reshape(-1)])
        second.append(rows)
    return duplicates.joined(len(rows), np.concatenate(first), np.concatenate(second))


def _across_first(images: Inspected, edges: Edges) -> Edges:
    """Return pairs with those in two parts first, the most alike first."""
    return sorted(edges, key=lambda edge: (images.part_of(edge[0]) == images.part_of(edge[1]), -edge[2], edge[:2]))


def _across(images: Inspected, compared: _Compared) -> list[Across]:
    """Count the images of each evaluated part that are duplicates of images of an earlier part."""
    beside: dict[int, set[int]] = {}
    for one, other, _ in compared.near:
        first, second = int(compared.group[one]), int(compared.group[other])
        beside.setdefault(first, set()).add(second)
        beside.setdefault(second, set()).add(first)
    names = list(images.parts)
    return [
        found
        for place, second in enumerate(names)
        for first in names[:place]
        for found in _between(images, compared.group, beside, first, second)
    ]


def _between(
    images: Inspected, group: NDArray[np.int64], beside: Mapping[int, set[int]], first: str, second: str
) -> Iterator[Across]:
    """Count the images of one part that are duplicates of images of another.

    Args:
        images: All images.
        group: The number that identical images share (n,).
        beside: The numbers of near duplicates of each such group.
        first: The earlier part.
        second: The part whose images are counted.
    """
    mine, theirs = group[images.rows[second]], group[images.rows[first]]
    same = np.isin(mine, theirs)
    hits: dict[Kind, list[tuple[int, int]]] = {"exact": [(place, int(mine[place])) for place in np.flatnonzero(same).tolist()]}
    hits["near"] = [
        (place, int(shared[0]))
        for place in np.flatnonzero(~same & np.isin(mine, list(beside))).tolist()
        if len(shared := np.intersect1d(sorted(beside[int(mine[place])]), theirs))
    ]
    for kind, found in hits.items():
        if found:
            place, other = found[0]
            there = int(images.rows[first][np.flatnonzero(theirs == other)[0]])
            example = images.image(there).name, images.image(int(images.rows[second][place])).name
            yield Across(first, second, kind, len(found), len(mine), example)


def _sizes(images: Inspected) -> Sizes:
    heights, widths = images.sizes
    order = np.argsort(heights * widths, kind="stable")
    least, median, most = ((int(heights[row]), int(widths[row])) for row in (order[0], order[(len(order) - 1) // 2], order[-1]))
    return Sizes(least, median, most)
