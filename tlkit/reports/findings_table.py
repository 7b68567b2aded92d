"""What an inspection found in the images of a data set, as rich tables. Nothing here prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from tlkit import units
from tlkit.errors import first_few
from tlkit.record.findings import Findings, Image, Pair
from tlkit.reports import plain_table

_SHOWN = 20  # rows of a table; --json has more
_CLASSES = 30  # of more the smallest and the largest are shown


def findings(found: Findings) -> RenderableType:
    """Return counts, sizes, files that are left out, duplicates, labels that look wrong and outliers."""
    parts: list[RenderableType] = [
        Text(head(found), style="bold"),
        _classes(found),
        *(Text(line) for line in files(found)),
        *(Text(f"warning: {line}", style="bold yellow") for line in found.warnings),
    ]
    exact, near = ([pair for pair in found.pairs if pair.kind == kind] for kind in ("exact", "near"))
    for title, pairs, total in (("identical images", exact, "exact"), ("near duplicates", near, "near")):
        parts += _section(found, title, total, ("image", "is like", "likeness", ""), [_pair(each) for each in pairs])
    doubtful = [
        (named(each.image), each.image.label, each.rather, f"{each.own:.1%}", f"{each.other:.1%}") for each in found.labels
    ]
    names = ("image", "label", "looks like", "probability of its label", "of the other")
    parts += _section(found, "labels that look wrong", "labels", names, doubtful)
    unlike = [(named(each.image), each.image.label, f"{each.times:.1f} times the median") for each in found.outliers]
    parts += _section(found, "images unlike all others", "outliers", ("image", "label", "distance to the nearest"), unlike)
    return Group(*parts, *(Text(line, style="dim") for line in remarks(found)))


def head(found: Findings, *, whole: bool = True) -> str:
    """Return the data set and the images of each part in a line.

    Args:
        found: What was found.
        whole: Name the folder with its whole path, not with its last part alone.
    """
    counts = ", ".join(f"{count:,} {part}" for part, count in found.parts.items())
    folder = found.folder if whole else Path(found.folder).name
    return f"{folder or found.data}: {len(found.classes):,} classes, {counts} images" if counts else folder or found.data


def files(found: Findings) -> list[str]:
    """Return lines on the sizes of the images, and on files that are left out or cannot be decoded."""
    lines = []
    if found.sizes is not None:
        least, median, most = (units.pixels(size) for size in (found.sizes.least, found.sizes.median, found.sizes.most))
        lines.append(f"sizes: all {least}" if least == most else f"sizes: {least} to {most}, median {median}")
    lines += [f"left out: {line}" for line in found.left_out]
    if found.corrupt:
        lines.append(
            f"{units.images(len(found.corrupt))} cannot be decoded: {first_few(each.removesuffix('.') for each in found.corrupt)}"
        )
    return lines


def remarks(found: Findings) -> list[str]:
    """Return lines on how the images were compared, and on what was not looked for."""
    compared = [f"compared by the embeddings of {found.embedded}"] if found.embedded else []
    return [*compared, *found.notes]


def named(image: Image) -> str:
    """Return an image's name with its part."""
    return image.name if image.name.startswith(image.part) else f"{image.name} ({image.part})"


def pair_remark(pair: Pair) -> str:
    """Return what is wrong with a pair: it is in two parts, or has two labels."""
    apart = f"in {pair.first.part} and {pair.second.part}" if pair.first.part != pair.second.part else ""
    unlike = f"labels {pair.first.label} and {pair.second.label}" if pair.first.label != pair.second.label else ""
    return ", ".join(filter(None, (apart, unlike)))


def _pair(pair: Pair) -> tuple[str, ...]:
    return named(pair.second), named(pair.first), f"{pair.likeness:.3f}", pair_remark(pair)


def _classes(found: Findings) -> RenderableType:
    table = plain_table.of("class", *found.parts, gap=3)
    rows = sorted(found.classes.items(), key=lambda item: -sum(item[1].values()))
    shown = rows if len(rows) <= _CLASSES else [*rows[: _CLASSES // 2], *rows[-(_CLASSES // 2) :]]
    for place, (name, counts) in enumerate(shown):
        if len(shown) < len(rows) and place == _CLASSES // 2:
            table.add_row(Text(f"{len(rows) - len(shown)} others", style="dim"))
        table.add_row(Text(name), *(f"{counts.get(part, 0):,}" for part in found.parts))
    return table


def _section(
    found: Findings, title: str, total: str, names: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[RenderableType]:
    count = (found.totals or {}).get(total)
    if count is None:
        return []
    if not count:
        return [Text(f"{title}: none")]
    more = f", the first {_SHOWN} of them" if count > _SHOWN else ""
    table = plain_table.of(*names, gap=3)
    for row in rows[:_SHOWN]:
        table.add_row(*map(Text, row))
    return [Text(f"\n{title}: {count:,}{more}", style="bold"), table]
