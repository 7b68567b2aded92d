"""The recipes that come with tlkit: their names, the question each answers, and a copy of one."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tlkit import files
from tlkit.errors import TlkitError, nearest

_SCHEMA = "#:schema"  # a line for editors, whose path is right only beside the schema


def folder() -> Path:
    """Return the folder of the shipped recipes: in the installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "shipped_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def questions() -> dict[str, str]:
    """Return the question that each recipe answers, by the recipe's name."""
    return {path.stem: _question(path.read_text(encoding="utf-8")) for path in sorted(folder().glob("*.toml"))}


def hint(name: str) -> tuple[str, ...]:
    """Return how to write the recipe of a name, or of a file's name; nothing where no such recipe comes with tlkit."""
    stem = name.removesuffix(".toml")
    ours = any(path.stem == stem for path in folder().glob("*.toml"))
    return (f"tlkit init --from {stem} writes the one that comes with tlkit",) if ours else ()


def write(name: str, output: Path | None, *, force: bool) -> Path:
    """Write a copy of a recipe. Recipes that it names and runs that it begins from are where the copy's user has them.

    Args:
        name: Of the recipe, "quickstart".
        output: The file; NAME.toml in the working folder where it is None.
        force: Replace a file that is there.

    Returns:
        The file that was written.

    Raises:
        TlkitError: there is no such recipe, or the file is there already.
    """
    names = list(questions())
    if name not in names:
        raise TlkitError(
            f'--from {name}: no recipe "{name}" comes with tlkit.', f"recipes: {', '.join(names)}", nearest(name, names)
        )
    path = output if output is not None else Path(f"{name}.toml")
    if path.exists() and not force:
        raise TlkitError(f"{path}: is there already.", "--force replaces it, --output names another file")
    lines = (folder() / f"{name}.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith(_SCHEMA)).replace(f"recipes/{name}.toml", str(path))
    text = re.sub(r"(tlkit apply )recipes/(\w+\.toml)", lambda found: f"{found[1]}{path.with_name(found[2])}", text)
    text = text.replace(
        "run:../runs/", f"run:{Path(os.path.relpath('runs', path.parent)).as_posix()}/"
    )  # `apply` writes ./runs
    files.replace_named(path, text, "output")
    return path


def _question(text: str) -> str:
    """Return the first sentences of a recipe's head, up to its first empty comment line."""
    words: list[str] = []
    for line in text.splitlines():
        if line.startswith(_SCHEMA):
            continue
        said = line.removeprefix("#").strip()
        if not line.startswith("#") or not said:
            break
        words.append(said)
    return " ".join(words)
