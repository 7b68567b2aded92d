"""Let tlkit's plugins be found in a tree that is not installed, as on a lent machine that reaches no network."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from tlkit.plugin import registry

ROOT = Path(__file__).parents[2]


def offer_plugins(folder: Path, *, root: Path = ROOT) -> bool:
    """Write the entry points of a tree's distributions into a folder, for this process and those that it starts; return whether that was needed.

    Args:
        folder: For them.
        root: Of the tree.
    """
    if any(entry.distribution == "tlkit" for entry in registry.scan().entries):
        return False
    found = [str(folder)]
    for file in sorted([root / "pyproject.toml", *root.glob("plugins/*/pyproject.toml")]):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        lines = [
            line
            for group, entries in project.get("entry-points", {}).items()
            for line in [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
        ]
        place = folder / f"{project['name'].replace('-', '_')}-{project['version']}.egg-info"
        place.mkdir(parents=True, exist_ok=True)
        head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (place / "PKG-INFO").write_text(head, encoding="utf-8")
        (place / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        found.append(str(root / "plugins" if file.parent == root else file.parent))
    sys.path += found
    os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(root), *found])
    registry.scan.cache_clear()
    return True
