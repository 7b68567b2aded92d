"""The tables of benchmarks/README.md, from the raw lines of trials.

The rule: of each piece of work the latest session counts, whole; ratios are of the same round, and a median stands with its
least and greatest value. Lines of fewer pictures (--images) are in no table.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.trial import CONTENDERS, Cell
from benchmarks.peers.work import WORKS

Line = Mapping[str, Any]
Rounds = dict[int, Line]

UNMEASURED = "not measured yet"
_ARMS = {"head": "head only", "last": "last stage", "all": "everything"}
_CIFAR, _LITE = "cifar10-resnet18", "hymenoptera-efficientnet_lite0"
_HEAD, _VIEWS, _AGAIN = Cell(_CIFAR, "head"), Cell(_CIFAR, "head", "views"), Cell(_CIFAR, "head", "again")
_LAST, _ALL, _LITE_ALL, _LITE_HEAD = Cell(_CIFAR, "last"), Cell(_CIFAR, "all"), Cell(_LITE, "all"), Cell(_LITE, "head")
CELLS = (_HEAD, _VIEWS, _AGAIN, _LAST, _ALL, _LITE_ALL, _LITE_HEAD)


def figures(lines: Sequence[Line]) -> str:
    """Return the table of the figures to reach, with what was reached, and what it was measured on."""
    used: list[Line] = []

    def rounds(cell: str, contender: str, session: str = "") -> Rounds:
        found = _rounds(lines, cell, contender, session)
        used.extend(found.values())
        return found

    def against_loop(cell: Cell, loop: Cell, seconds: Callable[[Line], float]) -> str:
        ours = rounds(cell.name, "tlkit")
        theirs = rounds(loop.name, "tutorial", _session(ours))
        return _times([seconds(theirs[n]) / seconds(ours[n]) for n in sorted(ours.keys() & theirs.keys())])

    rows = [
        ("head only, no augmentation, nothing stored yet", "at least 12 times faster", against_loop(_HEAD, _HEAD, _counted)),
        ("head only, `augment_views = 5`", "at least 4 times", against_loop(_VIEWS, _VIEWS, _counted)),
        ("head only, another seed on the same store", "at least 60 times", against_loop(_AGAIN, _HEAD, _counted)),
        ("last stage (layer4) trained", "at least 4 times", against_loop(_LAST, _LAST, _counted)),
        ("everything trained", "at least 2.2 times", against_loop(_ALL, _ALL, _counted)),
        ("everything trained, efficientnet_lite0, ants and bees", "at least 1.5 times", against_loop(_LITE_ALL, _LITE_ALL, _counted)),
        (
            "head only, efficientnet_lite0, ants and bees, whole process with start-up",
            "at least 5 times",
            against_loop(_LITE_HEAD, _LITE_HEAD, _whole),
        ),
        (
            "three arms of quickstart in one command",
            "at most the sum of its two end-to-end arms plus 5 %",
            _quickstart([rounds("quickstart", name) for name in ("three", "finetune", "scratch")]),
        ),
    ]  # fmt: skip
    head = ["| work, 5 epochs | against the tutorial's loop | reached |", "|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows), "", _remarks(used)])


def peers(lines: Sequence[Line]) -> str:
    """Return the table of every contender, and what it was measured on."""
    names = ("work", "trained", "", "seconds", "spread", "tlkit is faster", "accuracy after epoch 1, the last")
    names += ("start and imports", "once per machine", "whole process")
    head = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    rows, used = [], []
    for name, work in WORKS.items():
        for arm, title in _ARMS.items():
            cell = Cell(name, arm).name
            for contender in CONTENDERS:
                found = _rounds(lines, cell, contender)
                if not found:
                    continue
                used += found.values()
                ours = _rounds(lines, cell, "tlkit", _session(found))
                shown = _peer(contender, found, ours, _rounds(lines, cell, contender, _session(found), measuring=True))
                rows.append(f"| {work.title} | {title} | {contender} | {' | '.join(shown)} |")
    return "\n".join([*head, *rows, "", _remarks(used)]) if rows else _remarks(used)


def fill(readme: Path, tables: Mapping[str, str]) -> None:
    """Put each table between its markers, `<!-- NAME -->` and `<!-- end of NAME -->`."""
    text = readme.read_text(encoding="utf-8")
    for name, table in tables.items():
        before, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not begin or not end:
            raise SystemExit(f"{readme}: has no markers <!-- {name} --> and <!-- end of {name} -->.")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    readme.write_text(text, encoding="utf-8")


def _peer(contender: str, found: Rounds, ours: Rounds, measuring: Rounds) -> list[str]:
    seconds = [_counted(line) for line in found.values()]
    ratios = [_counted(found[n]) / _counted(ours[n]) for n in sorted(found.keys() & ours.keys())]
    return [
        f"{statistics.median(seconds):.1f}",
        f"{min(seconds):.1f} to {max(seconds):.1f}",
        "" if contender == "tlkit" else _times(ratios),
        _accuracy(list(found.values())),
        f"{statistics.median(line['start'] for line in found.values()):.1f}",
        _once(list(measuring.values()), list(found.values())) if contender == "tlkit" else "",
        f"{statistics.median(_whole(line) for line in found.values()):.1f}",
    ]


def _once(first: Sequence[Line], others: Sequence[Line]) -> str:
    """Return the seconds of measuring the machine: what the run says, else what the first trial took longer than the others."""
    if not first:
        return ""
    said = first[-1].get("measuring_seconds")
    if said is not None:
        return f"{said:.1f}"
    whole, *later = [
        line["seconds"] - sum(line.get("epoch_seconds", ())) for line in (first[-1], *others)
    ]  # the first has fewer epochs
    return f"{max(whole - statistics.median(later), 0.0):.1f}"


def _quickstart(rounds: Sequence[Rounds]) -> str:
    three, *ends = rounds
    both = sorted(set(three).intersection(*ends))
    parts = [three[n]["whole"] / sum(end[n]["whole"] for end in ends) for n in both]
    if not parts:
        return UNMEASURED
    middle, low, high = (100 * (each - 1) for each in (statistics.median(parts), min(parts), max(parts)))
    return f"the sum {middle:+.0f} % ({low:+.0f} to {high:+.0f} %, n = {len(parts)})"


def _rounds(lines: Iterable[Line], cell: str, contender: str, session: str = "", *, measuring: bool = False) -> Rounds:
    """Return the trials of a session, the latest that has such where none is named, by round."""
    fitting = [
        line
        for line in lines
        if (line["cell"], line["contender"]) == (cell, contender)
        and line.get("images") is None
        and (line["round"] == 0) == measuring
        and session in ("", line["session"])
    ]
    latest = max((line["session"] for line in fitting), default="")
    return {line["round"]: line for line in fitting if line["session"] == latest}


def _session(rounds: Rounds) -> str:
    return next((line["session"] for line in rounds.values()), "")


def _counted(line: Line) -> float:
    return float(line["counted"])


def _whole(line: Line) -> float:
    """Seconds of the process, with epochs that were not done counted."""
    return float(line["whole"] - line["seconds"] + line["counted"])


def _times(ratios: Sequence[float]) -> str:
    if not ratios:
        return UNMEASURED
    return f"{statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f}, n = {len(ratios)})"


def _accuracy(lines: Sequence[Line]) -> str:
    parts = [f"{statistics.median(line['accuracy'][at] for line in lines):.1%}" for at in (0, -1)]
    done = len(lines[0]["accuracy"])
    return f"{parts[0]}, {parts[1]}" if done > 1 else f"{parts[0]}, not done"


def _remarks(lines: Sequence[Line]) -> str:
    """Say on what and how the lines were measured; nothing where there are none."""
    if not lines:
        return "Not measured yet."
    newest = max(lines, key=lambda line: line["session"])
    versions = {name: version for line in lines for name, version in line.get("versions", {}).items()}
    loops = sorted({line["epochs"] for line in lines if line["contender"] not in ("tlkit", "three", "finetune", "scratch")})
    counted = [f"one epoch timed, counted {line['of']} times" for line in lines if line.get("epochs") == 1 < line["of"]][:1]
    sessions = sorted({(line["session"][:10], line["commit"] or "unknown", line["command"]) for line in lines})
    several = [f"{loops[0]} epochs timed, counted as {newest['of']}"] if loops and 1 < loops[0] < newest["of"] else []
    return "\n".join(
        [
            f"Machine: {', '.join(sorted({line['machine'] for line in lines}))}; threads: {newest['threads']}. "
            f"{', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}.",
            "Medians; the ratio is that of the same round, least and greatest in brackets."
            + "".join(f" The others: {each}." for each in (*counted, *several)),
            *(f"{date}, commit {commit}: `{command}`" for date, commit, command in sessions),
        ]
    )
