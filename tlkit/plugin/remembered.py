"""Small JSON records in tlkit's cache: results that take seconds to find and depend on known values alone.

The rule: a missing, damaged or unreadable record counts as none, and a record that cannot be written is no error.
`tlkit cache clear` removes all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

from tlkit import files
from tlkit.errors import TlkitError

FOLDER = "measured"  # below tlkit's cache folder
_LEFT_AFTER = 3600  # seconds after which nobody writes a record any more


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
        files.replace(path, json.dumps(record, indent=2) + "\n")
        files.remove_unfinished(path)  # another process that is writing the same record fails, and has nothing to add
        for left in path.parent.glob(".*.json.*"):  # of other records, where a disk failed that could remove nothing either
            if time.time() - left.stat().st_mtime > _LEFT_AFTER:
                left.unlink()


def _path(depends_on: Mapping[str, object]) -> Path:
    text = json.dumps(dict(depends_on), sort_keys=True)
    return files.cache_folder() / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
