"""What every page has: its head, its style, its script and Plotly, all in one file."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tlkit.errors import TlkitError
from tlkit.reports.page import extra
from tlkit.reports.page.charts import Chart

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = "tlkit.reports.page"


def refuse_missing() -> None:
    """Refuse where the libraries are not installed that a page needs.

    Raises:
        TlkitError: with what to install.
    """
    if absent := extra.missing():
        what, _, hint = absent.partition(": ")
        raise TlkitError(f"{what}.", hint)


def render(template: str, charts: Sequence[Chart], values: Mapping[str, object]) -> str:
    r"""Return a page. Bytes of a file's name that are not UTF-8 stand on it as `files.shown` has them, as \udcff.

    Args:
        template: Name of its file, which extends frame.html.j2.
        charts: All that it shows, in order.
        values: What the template reads, with a "title".
    """
    here = importlib.resources.files(_HERE)
    text = (
        _environment()
        .get_template(template)
        .render(
            {
                **values,
                "charts": _json([chart.record() for chart in charts]),
                "plotly": importlib.resources.files("plotly")
                .joinpath("package_data/plotly.min.js")
                .read_text(encoding="utf-8"),
                "css": here.joinpath("page.css").read_text(encoding="utf-8"),
                "script": here.joinpath("page.js").read_text(encoding="utf-8"),
            }
        )
    )
    return text.encode(errors="backslashreplace").decode()


@functools.cache
def _environment() -> Environment:
    """The templates, each compiled once in a process: that takes as long as to train a toy."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(_HERE, "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _json(record: object) -> str:
    """Return JSON that can stand in a script element; null for what is no number, which a browser's JSON does not have."""
    try:
        text = json.dumps(record, separators=(",", ":"), default=float, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(record), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _finite(record: object) -> object:
    """Return what JSON says of a record, with None in the place of NaN and of what is infinite."""
    return json.loads(json.dumps(record, default=float), parse_constant=lambda _: None)
