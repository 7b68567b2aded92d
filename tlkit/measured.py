"""What was measured on this machine, remembered by what it depends on. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tlkit import cache, files
from tlkit.errors import TlkitError
from tlkit.execution import Measurements

_ADAPTER = TypeAdapter(Measurements)


def recall(facts: Mapping[str, object]) -> Measurements | None:
    """Return what was measured for the same facts, or None; a damaged file is as none."""
    try:
        return _ADAPTER.validate_python(json.loads(_path(facts).read_bytes())["measured"])
    except (OSError, TlkitError, ValueError, KeyError, TypeError, ValidationError):
        return None


def remember(facts: Mapping[str, object], measured: Measurements) -> None:
    """Keep measurements; a cache that cannot be written costs time, never an error."""
    record = {"facts": dict(facts), "measured": _ADAPTER.dump_python(measured, mode="json")}
    with contextlib.suppress(OSError, TlkitError):
        path = _path(facts)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, json.dumps(record, indent=2) + "\n")


def _path(facts: Mapping[str, object]) -> Path:
    text = json.dumps(dict(facts), sort_keys=True)
    return files.cache_folder() / cache.MEASURED / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
