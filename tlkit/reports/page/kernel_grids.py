"""The first kernels of each arm: before training, after it, and the difference.

An arm's kernels have a scale of their own: pretrained ones can be thirty times as large as random ones, which would all be grey on a
common scale. The differences share one, since how far each arm moved is what they compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlkit.reports.page import pictures
from tlkit.reports.page.runs import ShownArm
from tlkit.reports.page.seen import Picture

_EPSILON = 1e-12
_SMALL = 0.01  # of the norm: below it, one decimal place of a percentage tells too little
_COLUMNS = 8  # kernels in a row


@dataclass(frozen=True)
class KernelRow:
    """The kernels of one convolution in one arm."""

    arm: str
    pictures: Sequence[Picture]
    words: str


@dataclass(frozen=True)
class KernelTable:
    """The kernels of one convolution in all arms that have it."""

    title: str
    scale: str
    rows: Sequence[KernelRow]


def kernels(arms: Sequence[ShownArm]) -> list[KernelTable]:
    """Return the kernels of the first two convolutions; arms whose convolution is another one have a table of their own."""
    tables: dict[tuple[int, str, tuple[int, ...]], list[ShownArm]] = {}
    for arm in arms:
        for place, each in enumerate(arm.first.data.about.get("kernels", ())):
            tables.setdefault((place, each["name"], tuple(each["shape"])), []).append(arm)
    return [_table(place, mine) for (place, _, _), mine in sorted(tables.items(), key=lambda item: item[0][0])]


def _table(place: int, arms: Sequence[ShownArm]) -> KernelTable:
    about = arms[0].first.data.about["kernels"][place]
    shape = " x ".join(map(str, about["shape"]))
    values = [_arrays(arm, place) for arm in arms]
    moved = max(float(np.abs(mine["best"] - mine["before"]).max()) for mine in values)
    rows = [_row(arm, place, mine, moved) for arm, mine in zip(arms, values, strict=True)]
    what = f"{len(values[0]['best'])} {'filters' if about['what'] == 'filters' else 'channels of its first filter'}"
    title = f"{'First' if place == 0 else 'Second'} convolution: {about['name']} in {about['stage']}, {shape}, {what}"
    words = "Grey is 0 everywhere."
    if moved:
        words += f" In the differences of all arms white is +{moved:.3g}, black -{moved:.3g}."
    return KernelTable(title, words, rows)


def _arrays(arm: ShownArm, place: int) -> dict[str, np.ndarray]:
    arrays = arm.first.data.arrays
    return {when: arrays[f"kernel{place}_{when}"] for when in ("before", "last", "best")}


def _row(arm: ShownArm, place: int, values: dict[str, np.ndarray], moved: float) -> KernelRow:
    about = arm.first.data.about
    best, last = about["epoch"], about["last"]
    scale = max(float(np.abs(each).max()) for each in values.values())
    colours = f"Before and after white is +{scale:.3g}, black -{scale:.3g}."
    shown = {"before training": values["before"]}
    if best != last:
        shown[f"epoch {best}, the best"] = values["best"]
        shown[f"epoch {last}, the last"] = values["last"]
    else:
        shown[f"epoch {last}, the last and the best"] = values["last"]
    difference = values["best"] - values["before"]
    columns = min(len(values["best"]), _COLUMNS)
    name = about["kernels"][place]["name"]
    grids = [
        Picture(
            pictures.png(pictures.grid(each, scale=scale, columns=columns)), f"Kernels of {name} in {arm.name}, {when}", when
        )
        for when, each in shown.items()
    ]
    exactly = not np.any(difference)
    size = "exactly zero everywhere" if exactly else f"up to {np.abs(difference).max():.3g}"
    grids.append(
        Picture(
            pictures.png(pictures.grid(difference, scale=moved, columns=columns)),
            f"Difference of the kernels of {name} in {arm.name} from before training to epoch {best}: {size}",
            f"difference: {size}",
        )
    )
    if exactly:
        stage = next(each for each in arm.first.plan.stages if each.name == about["kernels"][place]["stage"])
        why = "it is frozen" if stage.trains == "never" else "its best epoch has the same kernels"
        return KernelRow(arm.name, grids, f"{colours} The difference is exactly zero: {why}.")
    norm = float(np.linalg.norm(difference)) / max(float(np.linalg.norm(values["before"])), _EPSILON)
    part = f"{norm:.1%}" if norm >= _SMALL else f"{100 * norm:.2g}%"  # a small rate is not said to have moved nothing
    return KernelRow(arm.name, grids, f"{colours} These kernels moved by {part} of their norm.")
