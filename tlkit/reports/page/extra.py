"""Whether the libraries are installed that a page needs: the extra `tlkit[report]`."""

from __future__ import annotations

import importlib.util

_LIBRARIES = ("plotly", "jinja2")


def missing() -> str:
    """Return what is missing for a page and how to install it; "" where all is here."""
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    return f"the report needs {' and '.join(absent)}: pip install 'tlkit[report]'" if absent else ""
