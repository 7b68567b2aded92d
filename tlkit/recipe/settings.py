"""`--set key=value`: a dotted key and a TOML value."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from tlkit.errors import TlkitError


@dataclass(frozen=True)
class Setting:
    """One --set: a dotted key as its parts, and a value."""

    path: tuple[str, ...]
    value: Any


def parse_setting(text: str) -> Setting:
    """Read "key.path=value"; a value that is not TOML is taken as a string.

    Raises:
        TlkitError: there is no key or no "=".
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise TlkitError(f"--set {text}: is not key=value.", "for instance --set schedule.epochs=2")
    path = _path(key)
    if not path:
        raise TlkitError(f"--set {text}: {key!r} is not a key.", "quote a module path: 'freeze.\"layer4.0\"=true'")
    try:
        return Setting(path, read_toml(f"value = {value}")["value"])
    except tomllib.TOMLDecodeError:
        return Setting(path, value.strip())


def read_toml(text: str) -> dict[str, Any]:
    """Read TOML; what the library raises besides its own error is one too."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("tables or arrays are nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise tomllib.TOMLDecodeError(str(error).partition(";")[0]) from None


def _path(key: str) -> tuple[str, ...]:
    """Return a dotted key's parts; nothing where it is no key."""
    try:
        nested: Any = read_toml(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path = []
    while isinstance(nested, dict) and nested:
        part, nested = next(iter(nested.items()))
        path.append(part)
    return tuple(path)
