"""Parse `--set key=value`, where the key is dotted and the value is TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from tlkit.errors import TlkitError, in_setting, setting


@dataclass(frozen=True)
class Setting:
    """One `--set` option.

    Attributes:
        path: The parts of its dotted key.
        value: Its value.
    """

    path: tuple[str, ...]
    value: Any


def parse_setting(text: str) -> Setting:
    """Parse "key.path=value". A value that is not TOML is taken as a string.

    Raises:
        TlkitError: the text has no key or no "=".
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise TlkitError(f"{in_setting(text)}: is not key=value.", f"for instance {setting('schedule.epochs=2')}")
    path = path_of(key)
    if not path:
        raise TlkitError(f"{in_setting(text)}: {key!r} is not a key.", "quote a module path: 'freeze.\"layer4.0\"=true'")
    try:
        read = read_toml(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return Setting(path, value.strip())
    if read.keys() != {"value"}:
        raise TlkitError(
            f"{in_setting(repr(text))}: its first line is one setting, and more follow.", "give each setting by itself"
        )
    return Setting(path, read["value"])


def read_toml(text: str) -> dict[str, Any]:
    """Parse TOML, and raise TOMLDecodeError for every kind of wrong text, also where tomllib raises another error."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("tables or arrays are nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python converts
        raise tomllib.TOMLDecodeError(str(error).partition(";")[0]) from None


def path_of(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key, as TOML writes it; () where the text is not a key."""
    if "\n" in key.strip():
        return ()
    try:
        nested: Any = read_toml(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path = []
    while isinstance(nested, dict) and nested:
        part, nested = next(iter(nested.items()))
        path.append(part)
    return tuple(path)
