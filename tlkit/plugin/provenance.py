"""Where a plugin comes from: its distribution, its version, and a digest of its source. Imports no torch.

The rule: a run's weights mean something only in the code that trained them, so each run keeps this, and what reads it compares.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tlkit import file_digests
from tlkit.errors import readable
from tlkit.plugin import Adapter, Backbone, Dataset, Head, registry

# Told apart by their versions, not by their files. tlkit's own code is in result.json's versions.
BY_VERSION = frozenset(("tlkit", "torch", "torchvision", "timm"))
# What a solved head is fitted with, and read again with.
_SOLVING = ("scikit-learn", "skops")
# Libraries that plugins take networks and data sets from, where their source imports them.
_IMPORTED = re.compile(rb"^\s*(?:from|import)\s+(timm|torchvision)\b", re.MULTILINE)


@dataclass(frozen=True)
class Provenance:
    """The code of one plugin.

    Attributes:
        name: As the recipe names the plugin.
        distribution: Name as pip writes it.
        version: Version of the distribution.
        source: sha256 of every source file of the packages that the plugin names, but for those in `BY_VERSION`.
        libraries: Version of each library that it takes a network, data or an estimator from: timm, torchvision, scikit-learn, skops.
    """

    name: str
    distribution: str
    version: str
    source: str
    libraries: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """Return it as a table of resolved.toml."""
        return asdict(self)


def of(value: Adapter | Backbone | Dataset | Head, name: str, *, again: bool = False) -> Provenance:
    """Return where a plugin comes from.

    Args:
        value: The plugin.
        name: As `registry.get` took it.
        again: Read every file, whatever is remembered of its hash.

    Raises:
        DataError: a source file cannot be read.
    """
    entry = registry.entry(type(value), name)
    packages = {target.partition(":")[0].partition(".")[0] for target in (entry.target, *_targets(value)) if target}
    sources = [file for package in sorted(packages - BY_VERSION) for file in source_files(package)]
    versions = {library: found for library in _libraries(value, sources) if (found := _version(library))}
    return Provenance(name, entry.distribution, entry.version, file_digests.content(sources, root=None, again=again), versions)


def changes(before: object, now: Mapping[str, Provenance]) -> list[str]:
    """Say which plugins are others than a run was trained with; what the run did not keep is passed over.

    Args:
        before: The table [plugins] of resolved.toml.
        now: The same plugins as they are installed.
    """
    lines = []
    for part, mine in now.items():
        known = before.get(part) if isinstance(before, Mapping) else None
        if not isinstance(known, Mapping):
            continue
        what = f'{part} "{mine.name}"'
        if (known.get("distribution"), known.get("version")) != (mine.distribution, mine.version):
            lines.append(
                f"{what}: was trained with {known.get('distribution')} {known.get('version')}, and {mine.distribution} "
                f"{mine.version} is installed"
            )
        elif known.get("source") != mine.source:
            lines.append(f"{what}: the code of {mine.distribution} {mine.version} changed since it was trained")
        libraries = known.get("libraries")
        for library, version in mine.libraries.items():
            old = libraries.get(library) if isinstance(libraries, Mapping) else None
            if old not in (None, version):
                lines.append(f"{what}: was trained with {library} {old}, and {version} is installed")
    return lines


def source_files(package: str) -> Iterator[Path]:
    """Yield every source file below a top-level package or module, in order; none of one that is compiled or not there."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # ValueError: __main__ has none
        spec = None
    if spec is not None and spec.submodule_search_locations is not None:
        for root in spec.submodule_search_locations:
            for folder, folders, names in os.walk(root):
                folders[:] = sorted(name for name in folders if name.isidentifier() and name != "__pycache__")
                yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))
    elif spec is not None and spec.origin is not None and os.path.isfile(spec.origin):
        yield Path(spec.origin)


def _targets(value: Adapter | Backbone | Dataset | Head) -> list[str]:
    """The functions "module:function" of a plugin."""
    match value:
        case Backbone():
            return [value.build, *(head.build for head in value.aux_heads.values())]
        case Head():
            return [value.build, value.solve]
        case Dataset():
            return [value.read, value.find]
        case Adapter():
            return [value.solve, value.loss, value.domain_head]


def _libraries(value: Adapter | Backbone | Dataset | Head, sources: Sequence[Path]) -> list[str]:
    imported = {name.decode() for file in sources for name in _IMPORTED.findall(_read(file))}
    return sorted(imported | set(_SOLVING if isinstance(value, Head) and value.solve else ()))


def _read(file: Path) -> bytes:
    with readable(file):
        return file.read_bytes()


def _version(library: str) -> str:
    """The version of an installed distribution of this name; "" where there is none."""
    try:
        return metadata.version(library)
    except (metadata.PackageNotFoundError, ValueError):
        return ""
