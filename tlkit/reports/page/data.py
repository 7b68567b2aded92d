"""The images that the runs were trained on: counts, sizes, duplicates, labels that look wrong, outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit.record import findings
from tlkit.record.findings import Findings, Image, Thumbnails
from tlkit.reports import findings_table
from tlkit.reports.page import pictures
from tlkit.reports.page.runs import ShownArm
from tlkit.reports.page.seen import Picture

_SHOWN = 12  # findings of each kind on a page, with 72 thumbnails at most
_CLASSES = 300  # in the table; of more the smallest


@dataclass(frozen=True)
class Group:
    """Findings of one kind.

    Attributes:
        title: With their number.
        rows: Of each finding its pictures, and what is to be said of it.
    """

    title: str
    rows: Sequence[tuple[Sequence[Picture], str]]


@dataclass(frozen=True)
class ShownData:
    """The images of one recipe.

    Attributes:
        name: Of the recipe.
        head: Data set and images of each part.
        parts: Names of the parts.
        classes: Rows of the table of classes: name, images of each part.
        lines: On sizes, and on files that are left out.
        groups: What was found.
        remarks: How the images were compared, and what was not looked for.
        warnings: Near duplicates in two parts.
    """

    name: str
    head: str
    parts: Sequence[str]
    classes: Sequence[tuple[str, ...]]
    lines: Sequence[str]
    groups: Sequence[Group]
    remarks: Sequence[str]
    warnings: Sequence[str]


def data(arms: Sequence[ShownArm]) -> list[ShownData]:
    """Return the images of each recipe that were inspected, in the order of the arms."""
    recipes: dict[Path, list[Path]] = {}
    for arm in arms:
        for run in arm.runs:
            recipes.setdefault(run.folder.parent, []).append(run.folder)
    known = {folder.name: findings.of_runs(folder, mine) for folder, mine in recipes.items()}
    most = max(_SHOWN // max(len(known), 1), 1)
    return [_shown(name, *found, most=most) for name, found in known.items() if found is not None]


def _shown(name: str, found: Findings, thumbnails: Thumbnails, *, most: int) -> ShownData:
    rows = sorted(found.classes.items(), key=lambda item: -sum(item[1].values()))[-_CLASSES:]
    return ShownData(
        name,
        findings_table.head(found, whole=False),  # the page is read on other machines
        list(found.parts),
        [(each, *(f"{counts.get(part, 0):,}" for part in found.parts)) for each, counts in rows],
        findings_table.files(found),
        [group for group in _groups(found, thumbnails, most) if group.rows],
        findings_table.remarks(found),
        found.warnings_of("near"),
    )


def _groups(found: Findings, thumbnails: Thumbnails, most: int) -> list[Group]:
    totals = found.totals or {}
    groups = []
    for kind, title in (("exact", "Identical images"), ("near", "Near duplicates")):
        pairs = [pair for pair in found.pairs if pair.kind == kind][:most]
        rows = [
            (
                _pictures(thumbnails, pair.first, pair.second),
                "; ".join(
                    filter(None, (f"{_named(pair.second)} is like {_named(pair.first)}", findings_table.pair_remark(pair)))
                ),
            )
            for pair in pairs
        ]
        groups.append(Group(f"{title} ({totals.get(kind, 0):,})", rows))
    doubtful = [
        (
            _pictures(thumbnails, each.image),
            f"{_named(each.image)}: labelled {each.image.label} ({each.own:.1%}), looks like {each.rather} ({each.other:.1%})",
        )
        for each in found.labels[:most]
    ]
    groups.append(Group(f"Labels that look wrong ({totals.get('labels', 0):,})", doubtful))
    unlike = [
        (
            _pictures(thumbnails, each.image),
            f"{_named(each.image)}: {', '.join(filter(None, (each.image.label, f'{each.times:.1f} times the usual distance')))}",
        )
        for each in found.outliers[:most]
    ]
    groups.append(Group(f"Images unlike all others ({totals.get('outliers', 0):,})", unlike))
    return groups


def _pictures(thumbnails: Thumbnails, *images: Image) -> list[Picture]:
    return [
        Picture(pictures.jpeg(thumbnails[each.picture]), _named(each) + (f", labelled {each.label}" if each.label else ""))
        for each in images
        if 0 <= each.picture < len(thumbnails)
    ]


def _named(image: Image) -> str:
    return findings_table.named(image)
