"""Small JSON records in tlkit's cache: results that take seconds to find and depend on known values alone.

The rule: a missing, damaged or unreadable record counts as none, and a record that cannot be written is no error.
`tlkit cache clear` removes all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tlkit import files
from tlkit.errors import TlkitError

FOLDER = "measured"  # below tlkit's cache folder


def recall(depends_on: Mapping[str, object]) -> object | None:
    """Return the value that `remember` stored for the same key, as JSON holds it; None if there is none.

    Args:
        depends_on: Everything that the value depends on, as JSON can hold it: names, versions, digests.
    """
    try:
        return json.loads(_path(depends_on).read_bytes())["value"]  # type: ignore[no-any-return]  # whatever was written
    except (OSError, TlkitError, ValueError, LookupError, TypeError, RecursionError):
        return None


def remember(depends_on: Mapping[str, object], value: object) -> None:
    """Keep a value for `recall`.

    Args:
        depends_on: As in `recall`.
        value: Anything that JSON can hold.
    """
    record = {"depends_on": dict(depends_on), "value": value}
    with contextlib.suppress(OSError, TlkitError):
        path = _path(depends_on)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(record, indent=2).encode())  # in place: a part of it is no JSON, and counts as none


def _path(depends_on: Mapping[str, object]) -> Path:
    text = json.dumps(dict(depends_on), sort_keys=True)
    return files.cache_folder() / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
