"""Write a plan as JSON, and read it again. Imports no torch.

The rule: a plan that is read is equal to the one that was written; a plan of another version is refused.
"""

from __future__ import annotations

import contextlib
import json

from pydantic import TypeAdapter, ValidationError

from tlkit.errors import RunFolderError
from tlkit.plans.plan import FORMAT, Plan

_ADAPTER = TypeAdapter(Plan)


def to_json(plan: Plan) -> str:
    """Return a plan as JSON."""
    return _ADAPTER.dump_json(plan, indent=2).decode() + "\n"


def from_json(text: str) -> Plan:
    """Read a plan from JSON; equal to the one that was written.

    Raises:
        RunFolderError: it is no plan of this version.
    """
    try:
        plan = _ADAPTER.validate_json(text)
    except ValidationError as error:
        if (written := _format_of(text)) not in (None, FORMAT):
            raise RunFolderError(_other_format(written)) from error
        line = error.errors()[0]
        raise RunFolderError(
            f"plan.json: is not a plan of this version: {'.'.join(map(str, line['loc']))}: {line['msg']}."
        ) from error
    if plan.format != FORMAT:
        raise RunFolderError(_other_format(plan.format))
    return plan


def _format_of(text: str) -> int | None:
    """Return the format that JSON says it is of; None where it says none."""
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(text)
        if isinstance(record, dict) and isinstance(record.get("format"), int):
            return int(record["format"])
    return None


def _other_format(written: int | None) -> str:
    return f"plan.json: is of format {written}, written by another version of tlkit; this one reads format {FORMAT}."
