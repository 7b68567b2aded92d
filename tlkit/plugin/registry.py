"""Names to plugins, found by entry point. The only module that touches the `entrypoints` package.

The rule: listing imports nothing; loading imports the one plugin that is asked for.
"""

from __future__ import annotations

import configparser
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import entrypoints

from tlkit import plugin
from tlkit.errors import PluginError, TlkitError, nearest, reason
from tlkit.plugin import Family, kinds
from tlkit.plugin.kinds import KINDS, AnyPlugin

Plugin = TypeVar("Plugin", bound=AnyPlugin)

# Plugins that are distributions of their own: what to install for a name that is not there.
_ELSEWHERE = {"dlib_face_resnet29": "tlkit-dlib-face", "efficientnet_lite0": "tlkit-efficientnet-lite"}


@dataclass(frozen=True)
class Entry:
    """One entry point: who offers which name, and where its value is.

    Attributes:
        group: Of its kind, "tlkit.backbones" for instance.
        name: As recipes write it.
        target: "module:object".
        distribution: Name as pip writes it.
        version: Version of the distribution.
    """

    group: str
    name: str
    target: str
    distribution: str
    version: str


@dataclass(frozen=True)
class EntryPoints:
    """Every entry point of tlkit's groups, those of groups that tlkit does not have, and the files that could not be read."""

    entries: tuple[Entry, ...]
    misplaced: tuple[Entry, ...]
    broken: tuple[str, ...]


@cache
def scan() -> EntryPoints:
    """Read the entry points of every installed distribution; a broken file of another package is named, not fatal."""
    entries: list[Entry] = []
    broken: list[str] = []
    seen: set[str] = set()
    for folder in dict.fromkeys(sys.path):
        for file in sorted(
            [
                *Path(folder or ".").glob("*.dist-info/entry_points.txt"),
                *Path(folder or ".").glob("*.egg-info/entry_points.txt"),
            ]
        ):
            distro = entrypoints.Distribution.from_name_version(file.parent.stem)
            if distro.name in seen:  # an earlier folder of sys.path shadows it, as in an import
                continue
            seen.add(distro.name)
            try:
                text = file.read_text(encoding="utf-8")
                if "tlkit." not in text:
                    _parse(text)
                    continue
                entries += _entries(_parse(text), distro)
            except (OSError, UnicodeDecodeError, configparser.Error, entrypoints.BadEntryPoint) as error:
                broken.append(f"{file}: {str(error).splitlines()[0]}")
    groups = {kind.group for kind in KINDS}
    right = tuple(entry for entry in entries if entry.group in groups)
    return EntryPoints(right, tuple(entry for entry in entries if entry.group not in groups), tuple(broken))


def entries(kind: type) -> tuple[Entry, ...]:
    """Return what is offered of one kind, by name."""
    return tuple(sorted((e for e in scan().entries if e.group == kinds.of(kind).group), key=lambda e: (e.name, e.distribution)))


def get(kind: type[Plugin], name: str) -> Plugin:
    """Load the plugin of a name, "resnet18", or of a family's, "medmnist:pneumoniamnist".

    Raises:
        PluginError: nobody offers it, two do, it does not import, or it is something else.
    """
    family, colon, member = name.partition(":")
    value = _load(kind, family)
    if colon and isinstance(value, Family):
        made = plugin.call(value.make, member)
        if not isinstance(made, kind):
            raise PluginError(f"{value.make}: gave {type(made).__name__} for {member}, not a tlkit.plugin.{kind.__name__}.")
        return made
    if isinstance(value, Family):
        raise PluginError(
            f'{kinds.of(kind).noun} "{name}": is a family; say which of it.',
            f"{name}:{value.names[0]}" if value.names else "",
            f"names: {', '.join(value.names)}",
        )
    if colon:
        raise PluginError(f'{kinds.of(kind).noun} "{name}": {family} is no family.', f'"{family}"')
    return value


def family(kind: type[Plugin], name: str) -> Family | None:
    """Return the family of a name that is one; None where it is a plugin of its own."""
    value = _load(kind, name)
    return value if isinstance(value, Family) else None


def _load(kind: type[Plugin], name: str) -> Plugin | Family:
    noun = kinds.of(kind).noun
    offered = entries(kind)
    found = [entry for entry in offered if entry.name == name]
    if not found:
        raise _nobody(noun, name, [entry.name for entry in offered])
    if len(found) > 1:
        both = " and ".join(f"{entry.distribution} {entry.version} ({entry.target})" for entry in found)
        raise PluginError(f'{noun} "{name}": two distributions offer it: {both}.', "uninstall one of them, pip uninstall NAME")
    entry = found[0]
    try:
        value = entrypoints.EntryPoint.from_string(entry.target, entry.name).load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a third party's import raises, SystemExit too
        raise _not_importable(noun, entry, error) from error
    if not isinstance(value, kind | Family):
        raise PluginError(
            f'{noun} "{name}": {entry.target} of {entry.distribution} is of type {type(value).__name__}, not a tlkit.plugin.{kind.__name__}.'
        )
    return value


def offers(kind: type, name: str) -> bool:
    """Return whether somebody offers a name, or its family."""
    return any(found.name == name.partition(":")[0] for found in entries(kind))


def entry(kind: type, name: str) -> Entry:
    """Return who offers a name that `get` accepted."""
    return next(found for found in entries(kind) if found.name == name.partition(":")[0])


def unknown(name: str) -> PluginError:
    """Return the error that no plugin of any kind has a name."""
    names = [found.name for kind in KINDS for found in entries(kind.value)]
    hint = _misplaced(name) or nearest(name, names)
    return PluginError(f'there is no {kinds.ANY} "{name}" installed.', "tlkit list shows what is", hint)


def imports_torch(name: str) -> bool | None:
    """Return whether importing the plugin of a name imports torch, which the contract forbids; None where torch was imported before.

    Raises:
        PluginError: it does not import, or is something else.
    """
    if "torch" in sys.modules:
        return None
    for kind in KINDS:
        if offers(kind.value, name):
            _load(kind.value, name.partition(":")[0])
    return "torch" in sys.modules


def _parse(text: str) -> configparser.ConfigParser:
    parser: configparser.ConfigParser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",))
    parser.read_string(text)
    return parser


def _entries(parser: configparser.ConfigParser, distro: entrypoints.Distribution) -> list[Entry]:
    found, known = [], {kind.group for kind in KINDS}
    for group in parser.sections():
        if not group.startswith("tlkit."):
            continue
        for name, target in parser.items(group, raw=True):
            if group in known:
                entrypoints.EntryPoint.from_string(target, name)
            found.append(Entry(group, name, target, str(distro.name).replace("_", "-"), str(distro.version)))
    return found


def _misplaced(name: str) -> str:
    """Return where a name stands that is under no group of tlkit's; "" where it stands nowhere."""
    groups = [kind.group for kind in KINDS]
    for entry in scan().misplaced:
        if entry.name == name.partition(":")[0]:
            there = f'{entry.distribution} {entry.version} has it under "{entry.group}"'
            return f"{there}, which tlkit does not read; its entry points are {', '.join(groups)}"
    return ""


def _not_importable(noun: str, entry: Entry, error: BaseException) -> PluginError:
    """Return the error for a plugin whose import failed: where in its own code, for those who write it."""
    module = entry.target.partition(":")[0].strip()
    own = [
        frame
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == module.partition(".")[0]
    ]
    again = f"pip install --force-reinstall {entry.distribution}"
    if own:
        where = f"{own[-1].f_code.co_filename}, line {own[-1].f_lineno}; if it is not yours, reinstall it: {again}"
    else:
        where = f"its entry point is {entry.target}, as module:object; after a change of pyproject.toml reinstall it: {again}"
    why, hints = (error.problem, error.hints) if isinstance(error, TlkitError) else (f"{reason(error)}.", ())
    problem = f'{noun} "{entry.name}": the plugin of {entry.distribution} {entry.version} does not import: {why}'
    return PluginError(problem, *hints, where)


def _nobody(noun: str, name: str, names: list[str]) -> PluginError:
    if name in _ELSEWHERE:
        fix = f"it comes with {_ELSEWHERE[name]}: pip install {_ELSEWHERE[name]}, or from a checkout of tlkit, pip install plugins/{_ELSEWHERE[name]}"
        return PluginError(f'there is no {noun} "{name}" installed.', fix)
    hint = _misplaced(name) or nearest(name, names)
    return PluginError(f'there is no {noun} "{name}" installed.', f"installed: {', '.join(names)}", hint)
