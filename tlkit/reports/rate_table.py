"""Range tests of learning rates as a rich table. Nothing here prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tlkit.recipe.messages import dotted
from tlkit.record.range_tests import RangeTest
from tlkit.reports import plain_table


def tests(shown: Sequence[RangeTest]) -> RenderableType:
    """Return range tests for a terminal: what each suggests, and the keys that it would set."""
    table = plain_table.of("arm", "moved")
    for name in ("steps", "lowest loss at", "steepest", "valley"):
        table.add_column(name, justify="right", no_wrap=True)
    for test in shown:
        lowest = test.rates[test.smoothed.index(min(test.smoothed))] if test.rates else None
        table.add_row(test.arm, test.title, str(len(test.rates)), _rate(lowest), _rate(test.steepest), _rate(test.valley))
    return Group(table, "", *(Text(line) for test in shown for line in _lines(test)))


def remarks(test: RangeTest) -> list[str]:
    """Return what there is to say of how a test ran."""
    said = []
    if test.ended:
        said.append(f"ended after {len(test.rates)} steps: {test.ended}")
    if test.still:
        said.append(f"{', '.join(test.still)} kept still")
    if test.passes > 1:
        said.append(f"the images were used {test.passes} times")
    if test.stored:
        said.append("the fixed prefix was read from the store")
    return [*said, f"measured {test.date}"]


def settings(test: RangeTest) -> str:
    """Return what a test would set, as keys of a recipe; why it would set nothing, where the loss does not fall."""
    if test.suggested is None:
        return "no suggestion: the loss does not fall at any rate"
    return "would set " + ", ".join(f"{dotted('lr_groups', name)} = {rate:g}" for name, rate in test.suggested.items())


def _lines(test: RangeTest) -> list[str]:
    return [f"{test.arm}, {test.title}: {settings(test)}", *(f"  {line}" for line in remarks(test))]


def _rate(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:.2g}"
